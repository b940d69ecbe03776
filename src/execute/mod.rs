//! Execute: load → decide → append, for every command, wherever it comes from.
//!
//! In: a command with its facts, from HTTP, a report, a timer or a reaction. Out: what was stored and the state after
//! it, a rejection, or why it can't be told. The expectation guards appends only, so a rejection or a no-op is final
//! only when the subject's last sequence, asked of the log, is the one that was decided upon.

mod aggregates;
mod batch;
mod cache;
pub mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::aggregate::{Aggregate, Command, Meta};
use dockhost_domain::envelope::{Envelope, Origin, Recorded};
use dockhost_domain::ids::EventId;
use rand::Rng;

use crate::common::clock;
use crate::event_log::{Append, AppendError, Cause, EventLog, LogError};

pub use aggregates::{Aggregates, Cached};
pub use batch::Batch;
pub use cache::Held;
pub use snapshots::{Keeper, SnapshotOptions, Snapshots};

/// Events that are folded at once on a thread of the runtime; more of them hold it up for too long.
const INLINE: usize = 1000;
/// How often a command is decided anew after a conflict.
const TRIES: u32 = 10;

/// Why a command did not come through.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The rules forbid it; final.
    #[error(transparent)]
    Rejected(R),
    /// Others were faster, again and again. Nothing was stored.
    #[error("too many commands for one aggregate at once")]
    Busy,
    /// The log is full. Nothing was stored.
    #[error("the log is full")]
    Full,
    /// The broker can't be reached. Nothing was stored.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// The broker did not answer in time: it may or may not be stored.
    #[error("the outcome is unknown")]
    Unknown(#[source] Cause),
    /// The aggregate holds an event that this binary can't read.
    #[error("the aggregate is frozen")]
    Frozen(#[source] Cause),
}

impl<R> From<LogError> for ExecuteError<R> {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(cause) => Self::Unavailable(cause),
            frozen @ LogError::Frozen { .. } => Self::Frozen(Box::new(frozen)),
        }
    }
}

/// What a command came to.
pub struct Done<A> {
    /// The event that was stored; none if the state already was as asked.
    pub stored: Option<EventId>,
    /// The state after it.
    pub now: Held<A>,
}

/// Runs commands on one log.
pub struct Executor {
    log: Arc<dyn EventLog>,
    aggregates: Aggregates,
}

impl Executor {
    /// An executor with an empty cache.
    pub fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { log, aggregates: Aggregates::default() })
    }

    /// The same, on the snapshots that this keeper finds.
    pub fn with_snapshots(log: Arc<dyn EventLog>, keeper: Arc<Keeper>) -> Arc<Self> {
        Arc::new(Self { log, aggregates: Aggregates::kept_by(keeper) })
    }

    /// The log beneath.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The caches, for the follower.
    pub fn aggregates(&self) -> &Aggregates {
        &self.aggregates
    }

    /// The state as this replica knows it: from the cache, else from the log.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn state<A: Cached>(&self, id: A::Id) -> Result<Held<A>, LogError> {
        let entry = A::cache(&self.aggregates).entry(id);
        if let Some(held) = entry.held() {
            return Ok(held);
        }
        let _one_at_a_time = entry.loading.lock().await;
        if let Some(held) = entry.held() {
            return Ok(held);
        }
        let load = entry.begin_load();
        let held = load.finish(self.load::<A>(id).await?);
        self.aggregates.keep(id, &entry);
        Ok(held)
    }

    /// Folds the log; on a snapshot, if the aggregate is long and there is a good one.
    async fn load<A: Cached>(&self, id: A::Id) -> Result<Held<A>, LogError> {
        let first = self.log.load_first(A::subject(id)).await?;
        let held = Held::empty().with(&first.events);
        if first.complete {
            return Ok(held);
        }
        if let Some(kept) = self.aggregates.kept::<A>(id).await
            && let Some(held) = self.go_on(id, kept).await?
        {
            return Ok(held);
        }
        let rest = self.log.load(A::subject(id), held.sequence).await?;
        fold(held, rest).await
    }

    /// A snapshot with what came after it; none if the log is not the one that it was made of: then its last event is
    /// not there, or is another one.
    async fn go_on<A: Cached>(&self, id: A::Id, kept: Held<A>) -> Result<Option<Held<A>>, LogError> {
        let tail = self.log.load(A::subject(id), kept.sequence.saturating_sub(1)).await?;
        match tail.first() {
            Some(last) if (last.sequence, Some(last.envelope.meta.id)) == (kept.sequence, kept.event()) => {
                fold(kept, tail).await.map(Some)
            }
            _ => {
                tracing::warn!(aggregate = %A::subject(id), "a snapshot is of another past than the log's; it is ignored");
                Ok(None)
            }
        }
    }

    /// The state as the log has it at this moment: what guards access must not rest on an old state.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn confirmed<A: Cached>(&self, id: A::Id) -> Result<Held<A>, LogError> {
        let held = self.state::<A>(id).await?;
        Ok(self.newer(id, held.sequence).await?.unwrap_or(held))
    }

    /// The state after `sequence`, if the log has any: `None` says that `sequence` is the last one.
    async fn newer<A: Cached>(&self, id: A::Id, sequence: u64) -> Result<Option<Held<A>>, LogError> {
        if self.log.last_sequence(A::subject(id)).await? == sequence {
            return Ok(None);
        }
        self.reload::<A>(id).await.map(Some)
    }

    /// The state with the log's tail applied.
    async fn reload<A: Cached>(&self, id: A::Id) -> Result<Held<A>, LogError> {
        let held = self.state::<A>(id).await?;
        let tail: Vec<_> = self.log.load(A::subject(id), held.sequence).await?.into_iter().map(Arc::new).collect();
        let entry = A::cache(&self.aggregates).entry(id);
        self.aggregates.apply(id, &entry, &tail);
        match entry.held() {
            Some(held) => Ok(held),
            // Evicted between the two lines; rare, and a load settles it.
            None => Box::pin(self.state::<A>(id)).await,
        }
    }

    /// Decides and stores. Runs to its end even if the caller goes away: a command is never left half done.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute<C>(
        self: &Arc<Self>,
        id: <C::Aggregate as Aggregate>::Id,
        origin: Origin,
        command: C,
    ) -> Result<Done<C::Aggregate>, ExecuteError<C::Rejection>>
    where
        C: Command + 'static,
        C::Aggregate: Cached,
    {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move { this.run(id, &origin, &command).await });
        task.await.unwrap_or_else(|error| Err(ExecuteError::Unknown(error.into())))
    }

    async fn run<C>(
        &self,
        id: <C::Aggregate as Aggregate>::Id,
        origin: &Origin,
        command: &C,
    ) -> Result<Done<C::Aggregate>, ExecuteError<C::Rejection>>
    where
        C: Command,
        C::Aggregate: Cached,
    {
        let entry = <C::Aggregate as Cached>::cache(&self.aggregates).entry(id);
        let _turn = entry.turn.lock().await;
        let mut held = self.state::<C::Aggregate>(id).await?;
        for attempt in 0..TRIES {
            let event = match command.decide(&held.state) {
                Ok(Some(event)) => event,
                verdict => {
                    if let Some(newer) = self.newer(id, held.sequence).await? {
                        held = newer;
                        continue;
                    }
                    verdict.map_err(ExecuteError::Rejected)?;
                    return Ok(Done { stored: None, now: held });
                }
            };
            let envelope = envelop::<C::Aggregate>(id, origin, event);
            let event_id = envelope.meta.id;
            match self.log.append(Append { expected: held.sequence, envelope: envelope.clone() }).await {
                Ok(sequence) => {
                    // Held by nobody else, the state is changed in place instead of being copied first.
                    drop(held);
                    self.aggregates.apply(id, &entry, [&Arc::new(Recorded { sequence, envelope })]);
                    let now = self.state::<C::Aggregate>(id).await?;
                    return Ok(Done { stored: Some(event_id), now });
                }
                Err(AppendError::Conflict) => {
                    pause(attempt).await;
                    held = self.reload::<C::Aggregate>(id).await?;
                }
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(ExecuteError::Busy)
    }
}

/// A state with more events applied.
async fn fold<A: Aggregate>(held: Held<A>, events: Vec<Recorded>) -> Result<Held<A>, LogError> {
    if events.len() <= INLINE {
        return Ok(held.with(&events));
    }
    let folded = tokio::task::spawn_blocking(move || held.with(&events)).await;
    folded.map_err(|error| LogError::Unavailable(error.into()))
}

/// Wraps an event for its aggregate, with a fresh id and the time.
fn envelop<A: Aggregate>(id: A::Id, origin: &Origin, event: A::Event) -> Envelope {
    let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: clock::now() };
    Envelope { aggregate: A::subject(id), meta, origin: origin.clone(), event: event.into() }
}

/// What an append error means to a command, conflicts aside.
fn refusal<R>(error: AppendError) -> ExecuteError<R> {
    match error {
        AppendError::Conflict => ExecuteError::Busy,
        AppendError::Full => ExecuteError::Full,
        AppendError::Unavailable(cause) => ExecuteError::Unavailable(cause),
        AppendError::Unknown(cause) => ExecuteError::Unknown(cause),
    }
}

/// Jitter after a conflict, so that replicas which collided do not collide again.
async fn pause(attempt: u32) {
    let most = 1_u64 << attempt.min(7);
    let millis = rand::rng().random_range(0..=most);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
