//! Drains backends: stops what runs on them, and moves what is to be recreated elsewhere, until nothing is left or the deadline
//! has passed; removes those that are retired once they have no instances.
//!
//! Each run reads the states again and takes the next step, so it may be repeated, and a new leader continues.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::backend::{Backend, BackendEvent, Drain, EndDrain, RemoveBackend};
use dockhost_domain::envelope::{Actor, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, EventId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{DrainStep, MoveInstance, Occasion, Policy, StopForDrain, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::accounts::remove_backend::remove_backend;
use crate::broker::assignments::Assignments;
use crate::common::clock;
use crate::common::error::Cause;
use crate::event_log::LogError;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::{ExecuteError, Executor};
use crate::leader::job_runner::{self, EventSource, RETRY_DELAY, RetryLater};
use crate::leader::skip_frozen::skip_frozen;
use crate::replica::follower::Follower;
use crate::sealing::Keyring;

/// For so long after the start a replica may not know of it, and place or resume an instance there.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// How often a retired backend is looked at while its owners' stopped instances are still there, perhaps for weeks.
const RETIRED_INTERVAL: Duration = Duration::from_secs(5);

/// The reaction.
pub struct BackendDraining {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Executes the commands.
    pub executor: Arc<Executor>,
    /// Knows how far the log goes.
    pub follower: Arc<Follower>,
    /// Finds the name that a removed backend gives free.
    pub keyring: Arc<Keyring>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// Deadlines of instances.
    pub policy: Policy,
}

/// Who requested the drain of which backend, by which event.
#[derive(Clone, Copy)]
struct Request {
    backend: BackendId,
    event: EventId,
    actor: Actor,
}

/// The instances on a backend, by what the drain has done about them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Instances {
    running: Vec<(UserId, InstanceId)>,
    /// Stopped by the drain, and to be recreated elsewhere.
    movable: Vec<(UserId, InstanceId)>,
    /// Being created, stopped or deleted.
    in_transition: u32,
    stopped: u32,
    stayed: u32,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: it is over.
    Nothing,
    /// Stop and move these, and look again.
    Act {
        /// To be stopped.
        stop: Vec<(UserId, InstanceId)>,
        /// To be moved.
        moves: Vec<(UserId, InstanceId)>,
    },
    /// Look again.
    Wait,
    /// Record the end, and look again.
    End {
        /// How many instances have not stopped.
        left: u32,
    },
    /// Remove the backend.
    Remove,
}

impl Instances {
    fn add(&mut self, owner: UserId, instance: InstanceId, step: DrainStep) {
        match step {
            DrainStep::Running => self.running.push((owner, instance)),
            DrainStep::Creating | DrainStep::Ending => self.in_transition += 1,
            DrainStep::Stopped => self.stopped += 1,
            DrainStep::Stayed(_) => self.stayed += 1,
        }
    }

    fn left(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX).saturating_add(self.in_transition + self.stayed)
    }
}

/// Decides on a drain that was not undone.
fn next(drain: &Drain, instances: Instances, now: Timestamp) -> Next {
    let left = instances.left();
    if drain.ended_at.is_some() {
        return match (drain.retire, left + instances.stopped) {
            (false, _) => Next::Nothing,
            (true, 0) => Next::Remove,
            (true, _) if instances.movable.is_empty() => Next::Wait,
            (true, _) => Next::Act { stop: Vec::new(), moves: instances.movable },
        };
    }
    let is_settled = now.since(drain.started_at) >= SETTLING_TIME;
    if now >= drain.deadline || (left == 0 && instances.movable.is_empty() && is_settled) {
        Next::End { left }
    } else if instances.running.is_empty() && instances.movable.is_empty() {
        Next::Wait
    } else {
        Next::Act { stop: instances.running, moves: instances.movable }
    }
}

fn started(recorded: &RecordedEvent) -> Option<((BackendId, ()), Request)> {
    let envelope = &recorded.envelope;
    match (&envelope.aggregate, &envelope.event) {
        (AggregateId::Backend(backend), Event::Backend(BackendEvent::DrainStarted(_))) => {
            let request = Request { backend: *backend, event: envelope.meta.id, actor: envelope.origin.actor };
            Some(((*backend, ()), request))
        }
        _ => None,
    }
}

impl BackendDraining {
    /// Reacts until cancelled.
    ///
    /// # Errors
    /// When the broker can't be reached.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), Cause> {
        let react = |request| self.react(request);
        let reading = EventSource {
            role: "backend-draining",
            consumer: "backend-draining",
            kind: "backend",
            debounce: Duration::ZERO,
            follower: &self.follower,
        };
        job_runner::process_events(reading, &self.log, &cancel, started, |last, newer| *last = newer, react).await?;
        Ok(())
    }

    async fn react(&self, request: Request) -> Result<(), Cause> {
        let backend = request.backend;
        let Some(drain) = self.drain(backend).await? else { return Ok(()) };
        let instances = self.instances(backend).await?;
        let origin = Origin::new(request.actor, format!("reaction:{}", request.event));
        match next(&drain, instances, clock::now()) {
            Next::Nothing => return Ok(()),
            Next::Act { stop, moves } => {
                for (owner, instance_id) in stop {
                    let command =
                        StopForDrain { backend_id: backend, instance_id, now: clock::now(), policy: self.policy };
                    skip_frozen(instance_id, self.executor.execute(owner, origin.clone(), command).await)?;
                }
                for (owner, instance_id) in moves {
                    let facts = self.follower.facts(self.policy, instance_id);
                    let occasion = Occasion::Drain;
                    let command = MoveInstance { backend_id: backend, instance_id, occasion, facts };
                    match self.executor.execute(owner, origin.clone(), command).await {
                        // No backend can take it now. It stays stopped until one can.
                        Err(ExecuteError::Rejected(_) | ExecuteError::Frozen(_)) => {}
                        outcome => drop(outcome?),
                    }
                }
            }
            Next::Wait => {}
            Next::End { left } => {
                let end = EndDrain { started_at: drain.started_at, left };
                let done = self.executor.execute(backend, origin, end).await?;
                if done.stored.is_some() {
                    tracing::info!(%backend, left, "drain ended");
                }
            }
            Next::Remove => {
                let command = RemoveBackend { force: false };
                remove_backend(&self.executor, &self.keyring, backend, &command, &origin).await?;
                tracing::info!(%backend, "retired backend removed");
                return Ok(());
            }
        }
        let after = if drain.ended_at.is_some() { RETIRED_INTERVAL } else { RETRY_DELAY };
        Err(RetryLater { reason: "the end of a drain".to_owned(), after }.into())
    }

    async fn drain(&self, backend: BackendId) -> Result<Option<Drain>, Cause> {
        let state = self.executor.confirmed::<Backend>(backend).await?;
        Ok(state.state.machine.as_ref().and_then(|machine| machine.drain))
    }

    async fn instances(&self, backend: BackendId) -> Result<Instances, Cause> {
        let mut instances = Instances::default();
        for (_, instance_id) in self.assignments.of(backend).await? {
            let current = self.assignments.current(backend, instance_id).await?;
            let Some(assignment) = current.assignment else { continue };
            let tenancy = match self.executor.state::<Tenancy>(assignment.user_id).await {
                Ok(tenancy) => tenancy,
                // It must not block the other instances of this backend.
                Err(LogError::Frozen { .. }) => {
                    instances.stayed += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let instance = tenancy.state.instance(instance_id);
            if let Some(step) = instance.and_then(|instance| instance.drain_step(backend)) {
                instances.add(assignment.user_id, instance_id, step);
            }
            if instance.is_some_and(|instance| instance.moves_in_drain(backend)) {
                instances.movable.push((assignment.user_id, instance_id));
            }
        }
        Ok(instances)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const START: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(START + seconds * 1000)
    }

    fn drain(retire: bool, ended_at: Option<Timestamp>) -> Drain {
        Drain { started_at: at(0), deadline: at(100), retire, was_cordoned: false, ended_at }
    }

    fn one() -> (UserId, InstanceId) {
        (UserId::from_uuid(Uuid::from_u128(1)), InstanceId::from_uuid(Uuid::from_u128(2)))
    }

    fn running() -> Instances {
        Instances { running: vec![one()], ..Instances::default() }
    }

    #[test]
    fn next_stops_what_runs_and_waits_for_it() {
        let stop = Next::Act { stop: vec![one()], moves: vec![] };
        assert_eq!(next(&drain(false, None), running(), at(1)), stop);
        for busy in [
            Instances { in_transition: 1, ..Instances::default() },
            Instances { stayed: 1, stopped: 3, ..Instances::default() },
        ] {
            assert_eq!(next(&drain(false, None), busy, at(99)), Next::Wait);
        }
    }

    #[test]
    fn next_ends_when_nothing_is_left_and_no_replica_can_have_missed_the_start() {
        let stopped = || Instances { stopped: 2, ..Instances::default() };
        assert_eq!(next(&drain(false, None), stopped(), at(4)), Next::Wait);
        assert_eq!(next(&drain(false, None), stopped(), at(5)), Next::End { left: 0 });
    }

    #[test]
    fn next_moves_what_is_stopped_until_the_deadline_and_after_it_from_a_retired_backend() {
        let movable = || Instances { movable: vec![one()], stopped: 1, ..Instances::default() };
        let moves = || Next::Act { stop: vec![], moves: vec![one()] };
        assert_eq!(next(&drain(false, None), movable(), at(50)), moves());
        assert_eq!(next(&drain(false, None), movable(), at(100)), Next::End { left: 0 });
        assert_eq!(next(&drain(false, Some(at(100))), movable(), at(101)), Next::Nothing);
        assert_eq!(next(&drain(true, Some(at(100))), movable(), at(101)), moves());
    }

    #[test]
    fn next_ends_at_the_deadline_with_what_is_left() {
        let instances = Instances { in_transition: 1, stayed: 2, stopped: 4, ..running() };
        assert_eq!(next(&drain(false, None), instances, at(100)), Next::End { left: 4 });
    }

    #[test]
    fn next_removes_a_retired_backend_when_it_has_no_instances() {
        let ended = Some(at(50));
        let stopped = || Instances { stopped: 1, ..Instances::default() };
        assert_eq!(next(&drain(false, ended), running(), at(60)), Next::Nothing);
        assert_eq!(next(&drain(true, ended), stopped(), at(1000)), Next::Wait);
        assert_eq!(next(&drain(true, ended), Instances::default(), at(60)), Next::Remove);
    }
}
