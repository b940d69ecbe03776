//! Current states: what a verdict without an event rests on.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::cache::CachedState;
use super::{CachedAggregate, Executor, fold};
use crate::event_log::{Freshness, LogError, Proof};

/// How long a state waits for the follower before it is read from the log instead.
const MAX_APPLY_WAIT: Duration = Duration::from_millis(500);
/// How long a load is repeated whose answers come from a copy of the log that lags.
const MAX_LAG: Duration = Duration::from_secs(2);
const LAG_PAUSE: Duration = Duration::from_millis(50);

impl Executor {
    /// The state with everything that was acknowledged before this call, for what guards access and for answers without
    /// an event.
    ///
    /// # Errors
    /// [`LogError`]; also if no quorum of the broker shows in time what was acknowledged.
    pub async fn confirmed<A: CachedAggregate>(&self, id: A::Id) -> Result<CachedState<A>, LogError> {
        self.current(id, Freshness::now()).await
    }

    /// The state with everything that was acknowledged before the moment that `freshness` names.
    ///
    /// # Errors
    /// As [`Executor::confirmed`].
    pub async fn current<A: CachedAggregate>(
        &self,
        id: A::Id,
        freshness: Freshness,
    ) -> Result<CachedState<A>, LogError> {
        match (self.log.barrier(freshness).await?, freshness) {
            (Proof::UpTo(sequence), _) if self.applied.reaches(sequence, MAX_APPLY_WAIT).await => self.state(id).await,
            (Proof::UpTo(sequence), _) => self.reload(id, sequence).await,
            // The only node tells the follower of each event at once.
            (Proof::SingleCopy, Freshness::Within(_)) if self.applied.is_live() => self.state(id).await,
            (Proof::SingleCopy, _) => {
                let cached = self.state::<A>(id).await?;
                if self.log.last_sequence(A::subject(id)).await? == cached.sequence {
                    return Ok(cached);
                }
                self.reload(id, 0).await
            }
        }
    }

    /// Applies the log's newer events to the cached state, all up to `floor` among them.
    pub(super) async fn reload<A: CachedAggregate>(&self, id: A::Id, floor: u64) -> Result<CachedState<A>, LogError> {
        let deadline = Instant::now() + MAX_LAG;
        let mut cached = self.state::<A>(id).await?;
        loop {
            let tail = self.log.load(A::subject(id), cached.sequence).await?;
            let tail: Vec<_> = tail.into_iter().map(Arc::new).collect();
            let entry = A::cache(&self.aggregates).entry(id);
            self.aggregates.apply(id, &entry, &tail);
            cached = match entry.loaded() {
                Some(cached) => cached,
                // Evicted since the first line.
                None => Box::pin(self.state::<A>(id)).await?,
            };
            if self.includes(id, &cached, floor).await? {
                return Ok(cached);
            }
            pause(deadline).await?;
        }
    }

    /// Reads on until the loaded state has everything up to `floor`.
    pub(super) async fn complete<A: CachedAggregate>(
        &self,
        id: A::Id,
        mut loaded: CachedState<A>,
        floor: u64,
    ) -> Result<CachedState<A>, LogError> {
        let deadline = Instant::now() + MAX_LAG;
        while !self.includes(id, &loaded, floor).await? {
            pause(deadline).await?;
            let tail = self.log.load(A::subject(id), loaded.sequence).await?;
            loaded = fold(loaded, tail).await?;
        }
        Ok(loaded)
    }

    /// Whether a state has every event of its aggregate up to `floor`, as one answer of one node shows: several answers
    /// may come from several copies of the log.
    async fn includes<A: CachedAggregate>(
        &self,
        id: A::Id,
        cached: &CachedState<A>,
        floor: u64,
    ) -> Result<bool, LogError> {
        if floor == 0 {
            return Ok(true);
        }
        let extent = self.log.extent(A::subject(id)).await?;
        // The state and the copy are two prefixes of one history, so the longer one includes the other.
        Ok(extent.is_none_or(|copy| copy.end >= floor && copy.events <= cached.events()))
    }
}

async fn pause(deadline: Instant) -> Result<(), LogError> {
    if Instant::now() + LAG_PAUSE >= deadline {
        return Err(LogError::Unavailable("the broker answers from a copy of the log that lags".into()));
    }
    sleep(LAG_PAUSE).await;
    Ok(())
}
