//! Runs commands: load, decide, append.
//!
//! A command decides on a cached state, and its append expects the sequence of that state. A rejection or a no-op has
//! no append, so before it returns one, `execute` makes sure that the state is current; if it was not, it decides again.
//! The state that a verdict rests on is one of the aggregate's states between the command's arrival and its answer, also
//! if the broker's nodes disagree on which one leads the log (docs/adr/0015-verdicts-after-a-barrier.md).
//!
//! - `current`: current states. `applied`: how far the follower is.
//! - `cache`: states of one kind of aggregate. `aggregates`: the caches of all kinds. [`snapshots`]: saved states.
//! - `event_time`: the time of an event. `batch`: commands on several aggregates that are stored together. `outcome`: what
//!   became of a command.
//! - `requests`: commands that repeat a request with an `Idempotency-Key`.

mod aggregates;
mod applied;
mod batch;
mod cache;
mod current;
mod event_time;
mod outcome;
mod requests;
mod retries;
pub mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::aggregate::{Aggregate, Command, CommandClass, Meta};
use dockhost_domain::envelope::{Envelope, Origin, RecordedEvent};
use dockhost_domain::ids::EventId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_telemetry::trace;
use tokio::time::Instant;
use tracing::Instrument;

use crate::common::clock;
use crate::event_log::size::LogCapacity;
use crate::event_log::{Append, AppendError, EventLog, Freshness, LogError};

pub use aggregates::{Aggregates, CachedAggregate};
pub use applied::Applied;
pub use batch::Batch;
pub use cache::CachedState;
use event_time::event_time;
pub use outcome::{ExecuteError, Executed};
use requests::{RequestsInFlight, first};
use retries::Retries;
pub use snapshots::{SnapshotManager, SnapshotOptions, SnapshotStore};

/// Longer tails are folded on a blocking thread, because they would occupy a thread of the runtime for too long.
const MAX_EVENTS_FOLDED_INLINE: usize = 1000;
/// How long a command waits for earlier ones of its aggregate before it gives up.
const MAX_COMMAND_WAIT: Duration = Duration::from_secs(10);

/// Runs commands on one log.
pub struct Executor {
    log: Arc<dyn EventLog>,
    aggregates: Aggregates,
    applied: Applied,
    capacity: Arc<LogCapacity>,
    in_flight: RequestsInFlight,
}

impl Executor {
    /// An executor with an empty cache and without snapshots.
    pub fn new(log: Arc<dyn EventLog>) -> Arc<Self> {
        Self::with(log, Aggregates::default())
    }

    /// An executor with an empty cache and snapshots.
    pub fn with_snapshots(log: Arc<dyn EventLog>, snapshots: Arc<SnapshotManager>) -> Arc<Self> {
        Self::with(log, Aggregates::with_snapshots(snapshots))
    }

    fn with(log: Arc<dyn EventLog>, aggregates: Aggregates) -> Arc<Self> {
        let (applied, capacity, in_flight) = (Applied::default(), Arc::default(), RequestsInFlight::default());
        Arc::new(Self { log, aggregates, applied, capacity, in_flight })
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// How full the log is; decides which commands it still takes.
    pub fn capacity(&self) -> &Arc<LogCapacity> {
        &self.capacity
    }

    /// The caches.
    pub fn aggregates(&self) -> &Aggregates {
        &self.aggregates
    }

    /// How far the follower has applied the log.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The state from the cache, or else from the log. It may be out of date.
    ///
    /// # Errors
    /// If the log can't be read.
    pub async fn state<A: CachedAggregate>(&self, id: A::Id) -> Result<CachedState<A>, LogError> {
        let entry = A::cache(&self.aggregates).entry(id);
        if let Some(cached) = entry.loaded() {
            return Ok(cached);
        }
        let _guard = entry.load_lock.lock().await;
        if let Some(cached) = entry.loaded() {
            return Ok(cached);
        }
        let (load, floor) = self.aggregates.begin_load(&entry);
        let loaded = self.load::<A>(id).await?;
        let cached = load.finish(self.complete(id, loaded, floor).await?);
        self.aggregates.offer_snapshot(id, &entry);
        Ok(cached)
    }

    /// Folds the aggregate's events, starting from a snapshot if the aggregate is long and has a valid one.
    async fn load<A: CachedAggregate>(&self, id: A::Id) -> Result<CachedState<A>, LogError> {
        let span = tracing::debug_span!("load", aggregate = %A::subject(id));
        self.fold_from_log(id).instrument(span).await
    }

    async fn fold_from_log<A: CachedAggregate>(&self, id: A::Id) -> Result<CachedState<A>, LogError> {
        let first = self.log.load_first(A::subject(id)).await?;
        let cached = CachedState::empty().with(&first.events);
        if first.complete {
            return Ok(cached);
        }
        if let Some(snapshot) = self.aggregates.find_snapshot::<A>(id).await
            && let Some(cached) = self.resume_from_snapshot(id, snapshot).await?
        {
            return Ok(cached);
        }
        let rest = self.log.load(A::subject(id), cached.sequence).await?;
        fold(cached, rest).await
    }

    /// The snapshot with later events applied. `None` if the log has no event with the snapshot's last sequence and id,
    /// as after a restore.
    async fn resume_from_snapshot<A: CachedAggregate>(
        &self,
        id: A::Id,
        snapshot: CachedState<A>,
    ) -> Result<Option<CachedState<A>>, LogError> {
        let tail = self.log.load(A::subject(id), snapshot.sequence.saturating_sub(1)).await?;
        match tail.first() {
            Some(last) if (last.sequence, Some(last.envelope.meta.id)) == (snapshot.sequence, snapshot.event()) => {
                let snapshot = snapshot.with_time(last.envelope.meta.time);
                fold(snapshot, tail).await.map(Some)
            }
            _ => {
                tracing::warn!(aggregate = %A::subject(id), "snapshot ignored: the log does not have its last event");
                Ok(None)
            }
        }
    }

    /// Decides and stores. Runs to completion even if the caller is dropped.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute<C>(
        self: &Arc<Self>,
        id: <C::Aggregate as Aggregate>::Id,
        origin: Origin,
        command: C,
    ) -> Result<Executed<C::Aggregate>, ExecuteError<C::Rejection>>
    where
        C: Command + 'static,
        C::Aggregate: CachedAggregate,
    {
        let class = command.class();
        self.execute_with(id, origin, class, move |state: &C::Aggregate| command.decide(state)).await
    }

    /// As [`Executor::execute`], with a decision that takes what it needs when it is this command's turn for the
    /// aggregate: `decide` is called once per attempt, and by one command at a time.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute_with<A, R>(
        self: &Arc<Self>,
        id: A::Id,
        origin: Origin,
        class: CommandClass,
        decide: impl FnMut(&A) -> Result<Option<A::Event>, R> + Send + 'static,
    ) -> Result<Executed<A>, ExecuteError<R>>
    where
        A: CachedAggregate,
        R: Send + 'static,
    {
        let (this, arrived) = (Arc::clone(self), Instant::now());
        let span = tracing::debug_span!("command", aggregate = %A::subject(id));
        // Of the caller's task, before the command gets one of its own.
        let origin = origin.in_trace(trace::current());
        let run = async move { this.run(id, &origin, class, arrived, decide).await };
        // In the caller's span as well, for when the log is not so detailed.
        let task = tokio::spawn(run.instrument(span).in_current_span());
        task.await.unwrap_or_else(|error| Err(ExecuteError::Unknown(error.into())))
    }

    async fn run<A, R>(
        &self,
        id: A::Id,
        origin: &Origin,
        class: CommandClass,
        arrived: Instant,
        mut decide: impl FnMut(&A) -> Result<Option<A::Event>, R> + Send,
    ) -> Result<Executed<A>, ExecuteError<R>>
    where
        A: CachedAggregate,
    {
        let entry = A::cache(&self.aggregates).entry(id);
        let _in_flight = self.in_flight.begin::<R>(A::subject(id), origin)?;
        // Bounded, so that a hot or slow aggregate does not collect ever more commands, whose callers give up anyway.
        let Ok(_place) = entry.command_places.try_acquire() else { return Err(ExecuteError::Busy) };
        let Ok(_guard) = tokio::time::timeout(MAX_COMMAND_WAIT, entry.command_lock.lock()).await else {
            return Err(ExecuteError::Busy);
        };
        let mut cached = self.state::<A>(id).await?;
        let mut is_current = false;
        let mut retries = Retries::default();
        loop {
            let repeated = first::<R>(cached.repeat_of(origin));
            let decision = match &repeated {
                Ok(None) => decide(&cached.state).map_err(ExecuteError::Rejected),
                Ok(Some(_)) | Err(_) => Ok(None),
            };
            let event = match decision {
                Ok(Some(event)) => event,
                decision => {
                    // Once a state was current, so is each later one.
                    if !is_current {
                        let current = self.current::<A>(id, Freshness::Since(arrived)).await?;
                        is_current = true;
                        let was = std::mem::replace(&mut cached, current).sequence;
                        if was != cached.sequence {
                            continue;
                        }
                    }
                    decision?;
                    return Ok(Executed { stored: None, repeated: repeated?, current: cached });
                }
            };
            if !self.capacity.admits(class) {
                return Err(ExecuteError::Full);
            }
            let envelope = to_envelope::<A>(id, origin, event, cached.time());
            let event_id = envelope.meta.id;
            match self.log.append(Append { expected: cached.sequence, envelope: envelope.clone() }).await {
                Ok(sequence) => {
                    // Without this reference the cache changes the state in place instead of cloning it.
                    drop(cached);
                    self.aggregates.apply(id, &entry, [&Arc::new(RecordedEvent { sequence, envelope })]);
                    // From the cache, unless it was evicted meanwhile.
                    let current = self.state::<A>(id).await.map_err(|error| ExecuteError::Unknown(error.into()))?;
                    return Ok(Executed { stored: Some(event_id), repeated: None, current });
                }
                Err(error) if error.is_conflict() => {
                    if !retries.pause_after(&error).await {
                        let unknown = retries.met_append_in_flight();
                        return Err(if unknown { AppendError::InFlight.into() } else { ExecuteError::Busy });
                    }
                    cached = match self.reload::<A>(id, 0).await {
                        Err(LogError::Unavailable(cause)) if retries.met_append_in_flight() => {
                            return Err(ExecuteError::Unknown(cause));
                        }
                        reloaded => reloaded?,
                    };
                }
                Err(AppendError::Unavailable(cause)) if retries.met_append_in_flight() => {
                    return Err(ExecuteError::Unknown(cause));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The state with more events applied.
async fn fold<A: Aggregate>(cached: CachedState<A>, events: Vec<RecordedEvent>) -> Result<CachedState<A>, LogError> {
    if events.len() <= MAX_EVENTS_FOLDED_INLINE {
        return Ok(cached.with(&events));
    }
    let folded = tokio::task::spawn_blocking(move || cached.with(&events)).await;
    folded.map_err(|error| LogError::Unavailable(error.into()))
}

/// Wraps an event, with a fresh id and the current time, or that of the aggregate's last event if it is later.
fn to_envelope<A: Aggregate>(id: A::Id, origin: &Origin, event: A::Event, last: Option<Timestamp>) -> Envelope {
    let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: event_time(clock::now(), last) };
    Envelope { aggregate: A::subject(id), meta, origin: origin.clone(), event: event.into() }
}
