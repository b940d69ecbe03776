//! A batch: decisions on several aggregates whose events are stored together or not at all (a sign-up: claims and
//! account).
//!
//! The broker stages batches, which makes them expensive, so they are only for what must span aggregates.

use std::sync::Arc;

use dockhost_domain::aggregate::{Aggregate, Command};
use dockhost_domain::envelope::{Origin, RecordedEvent};
use dockhost_domain::idempotency::FirstRequest;
use dockhost_telemetry::trace;
use tracing::Instrument;

use super::requests::{InFlight, first};
use super::retries::Retries;
use super::{CachedAggregate, ExecuteError, Executor, to_envelope};
use crate::event_log::{Append, AppendError};

/// Decisions to store together.
pub struct Batch {
    executor: Arc<Executor>,
    origin: Origin,
    entries: Vec<Append>,
    /// Whether the log has room for all of them, by the classes of their commands.
    admitted: bool,
    /// The highest sequence of a state that was decided on.
    decided_at: u64,
    /// The request that this batch repeats. It changed one of the aggregates, so all of its batch is stored.
    repeated: Option<FirstRequest>,
    /// For each aggregate, that the request is being carried out.
    in_flight: Vec<InFlight>,
}

impl Executor {
    /// An empty batch.
    pub fn batch(self: &Arc<Self>, origin: Origin) -> Batch {
        Batch {
            executor: Arc::clone(self),
            origin: origin.in_trace(trace::current()),
            entries: Vec::new(),
            admitted: true,
            decided_at: 0,
            repeated: None,
            in_flight: Vec::new(),
        }
    }

    /// Decides and stores a batch, and again after a conflict; returns the sequence that [`Batch::commit`] returns.
    ///
    /// # Errors
    /// Those of `decide` and of the log.
    pub async fn execute_batch<E, F>(self: &Arc<Self>, origin: &Origin, decide: impl Fn(Batch) -> F) -> Result<u64, E>
    where
        E: From<AppendError>,
        F: Future<Output = Result<Batch, E>>,
    {
        let span = tracing::debug_span!("command", aggregate = "several");
        self.decide_and_store(origin, decide).instrument(span).await
    }

    async fn decide_and_store<E, F>(self: &Arc<Self>, origin: &Origin, decide: impl Fn(Batch) -> F) -> Result<u64, E>
    where
        E: From<AppendError>,
        F: Future<Output = Result<Batch, E>>,
    {
        let mut retries = Retries::default();
        loop {
            let error = match decide(self.batch(origin.clone())).await?.commit().await {
                Ok(sequence) => return Ok(sequence),
                Err(error) => error,
            };
            if !retries.pause_after(&error).await {
                // What was in flight may be this batch, from an earlier request.
                let unknown = error.is_conflict() && retries.met_append_in_flight();
                return Err(if unknown { AppendError::InFlight } else { error }.into());
            }
        }
    }
}

impl Batch {
    /// Decides one command; as [`Executor::execute`], it checks that the state is current before it rejects. At most
    /// one command per aggregate. If the request changed this aggregate or one before it in an earlier batch, nothing is decided, and
    /// nothing is stored for the others.
    ///
    /// # Errors
    /// The rejection, or the log can't be read.
    pub async fn decide<C>(
        &mut self,
        id: <C::Aggregate as Aggregate>::Id,
        command: &C,
    ) -> Result<(), ExecuteError<C::Rejection>>
    where
        C: Command,
        C::Aggregate: CachedAggregate,
    {
        if self.repeated.is_some() {
            return Ok(());
        }
        let executor = Arc::clone(&self.executor);
        self.in_flight.extend(executor.in_flight.begin::<C::Rejection>(C::Aggregate::subject(id), &self.origin)?);
        // A state that is out of date lacks the repeated request, and a command before it may be rejected.
        let mut cached = if self.origin.request.is_some() {
            executor.confirmed::<C::Aggregate>(id).await?
        } else {
            executor.state::<C::Aggregate>(id).await?
        };
        self.repeated = first::<C::Rejection>(cached.repeat_of(&self.origin))?;
        if self.repeated.is_some() {
            self.decided_at = self.decided_at.max(cached.sequence);
            self.entries.clear();
            return Ok(());
        }
        let event = match command.decide(&cached.state) {
            Ok(Some(event)) => Some(event),
            decision => {
                let was = cached.sequence;
                cached = executor.confirmed::<C::Aggregate>(id).await?;
                let decision = if cached.sequence == was { decision } else { command.decide(&cached.state) };
                decision.map_err(ExecuteError::Rejected)?
            }
        };
        self.decided_at = self.decided_at.max(cached.sequence);
        if let Some(event) = event {
            self.admitted &= executor.capacity.admits(command.class());
            let envelope = to_envelope::<C::Aggregate>(id, &self.origin, event, cached.time());
            self.entries.push(Append { expected: cached.sequence, envelope });
        }
        Ok(())
    }

    /// Stores the batch; returns the last sequence, or that of the decided states if there is nothing to store. Runs to completion even if the caller is dropped.
    ///
    /// # Errors
    /// [`AppendError::Full`] also if only the log's reserve is left and one of the commands is not what that is for.
    /// [`AppendError::Conflict`] if a state was out of date. The states are evicted, so decide all commands again.
    pub async fn commit(self) -> Result<u64, AppendError> {
        if self.entries.is_empty() {
            return Ok(self.decided_at);
        }
        if !self.admitted {
            return Err(AppendError::Full);
        }
        let store = async move {
            let Self { executor, entries, in_flight: _in_flight, .. } = self;
            let outcome = executor.log.append_batch(entries.clone()).await;
            match &outcome {
                Ok(last) => {
                    let first = last + 1 - entries.len() as u64;
                    for (sequence, entry) in (first..).zip(entries) {
                        executor.aggregates.observe(&Arc::new(RecordedEvent { sequence, envelope: entry.envelope }));
                    }
                }
                Err(_) => entries.iter().for_each(|entry| executor.aggregates.evict(entry.envelope.aggregate)),
            }
            outcome
        };
        let task = tokio::spawn(store.in_current_span());
        task.await.unwrap_or_else(|error| Err(AppendError::Unknown(error.into())))
    }
}
