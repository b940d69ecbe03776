//! The confirm service: whether an assignment is current, which an agent asks before it creates a container.
//!
//! The backend's consumer does not prove it: after a node was killed it may replay assignments that were removed long
//! ago. Nor does the stream: a leader that was paused between its decision and its publish may publish an old
//! assignment after the newer ones were removed. So the assignment must be the last one of its subject, and the log must
//! still want it. If the instance was moved from a backend that was lost and has returned, that one removes its container
//! first, so that not two of them run in reach.

use std::sync::Arc;

use dockhost_domain::backend::{Backend, ConnectionState};
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_CONFIRMS, Channel};
use dockhost_domain::tenancy::{Instance, Tenancy, desired_assignments};
use dockhost_domain::wire::{Assignment, Confirm, Confirmed};

use crate::broker::agent_limits::AgentMessage;
use crate::broker::assignments::Assignments;
use crate::broker::holders::Holders;
use crate::broker::service::{RequestError, RequestHandler};
use crate::execute::Executor;

/// Looks up current assignments.
pub struct ConfirmHandler {
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// Who holds each backend.
    pub holders: Arc<Holders>,
    /// Loads tenancies.
    pub executor: Arc<Executor>,
}

/// How an assignment compares with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Current,
    Obsolete,
    /// The state is older than the assignment, so it does not tell.
    StateTooOld,
    /// It is current, but the backend that the instance was on has returned and not removed its container yet.
    OldContainerInReach,
}

/// Compares an assignment of this backend with the state of its tenancy.
fn compare(state: &Tenancy, backend: BackendId, assignment: &Assignment) -> Comparison {
    let Some(instance) = state.instance(assignment.instance_id) else { return Comparison::StateTooOld };
    if instance.placement < assignment.placement || instance.generation < assignment.generation {
        return Comparison::StateTooOld;
    }
    let desired = desired_assignments(assignment.user_id, assignment.instance_id, instance).remove(&backend);
    let key = |assignment: &Assignment| (assignment.placement, assignment.generation, assignment.desired);
    if desired.is_some_and(|desired| key(&desired) == key(assignment)) {
        Comparison::Current
    } else {
        Comparison::Obsolete
    }
}

impl ConfirmHandler {
    async fn compare_with_log(&self, backend: BackendId, question: &Confirm) -> Result<Comparison, RequestError> {
        let current = self.assignments.current(backend, question.instance_id).await;
        let current = current.map_err(|error| RequestError::Unavailable(error.into()))?;
        let asked = (question.placement, question.generation);
        let Some(assignment) = current.assignment.filter(|found| (found.placement, found.generation) == asked) else {
            return Ok(Comparison::Obsolete);
        };
        let tenancy = self.executor.confirmed::<Tenancy>(assignment.user_id).await;
        let tenancy = tenancy.map_err(|error| RequestError::Unavailable(error.into()))?;
        let comparison = compare(&tenancy.state, backend, &assignment);
        let instance = tenancy.state.instance(question.instance_id);
        if comparison == Comparison::Current
            && let Some(former) = instance.and_then(Instance::old_container_on)
            && self.is_connected(former).await?
        {
            return Ok(Comparison::OldContainerInReach);
        }
        Ok(comparison)
    }

    async fn is_connected(&self, backend: BackendId) -> Result<bool, RequestError> {
        let backend = self.executor.confirmed::<Backend>(backend).await;
        let backend = backend.map_err(|error| RequestError::Unavailable(error.into()))?;
        Ok(backend.state.machine.as_ref().is_some_and(|machine| machine.connection == ConnectionState::Connected))
    }
}

impl RequestHandler for ConfirmHandler {
    const MESSAGE: AgentMessage = AgentMessage::Confirm;
    const SUBJECT: &'static str = ALL_CONFIRMS;
    type Response = Confirmed;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Confirm(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, backend: BackendId, body: &[u8]) -> Result<Confirmed, RequestError> {
        let question: Confirm = reported::parse(body)?;
        if !self.holders.is_known_holder(backend, question.agent_run) {
            // Requests of other backends must not wait for this one.
            if self.holders.was_held_lately(backend) {
                return Err(RequestError::Unavailable("another agent held the backend a moment ago".into()));
            }
            if !self.holders.counts(backend, question.agent_run).await.map_err(RequestError::Unavailable)? {
                return Err(RequestError::OtherAgent(None));
            }
        }
        match self.compare_with_log(backend, &question).await? {
            Comparison::Current => Ok(Confirmed { is_current: true }),
            Comparison::Obsolete => {
                tracing::info!(%backend, instance = %question.instance_id, placement = question.placement,
                    generation = question.generation, "assignment is no longer current");
                Ok(Confirmed { is_current: false })
            }
            Comparison::StateTooOld => {
                Err(RequestError::Unavailable("the log's answer is older than the assignment".into()))
            }
            Comparison::OldContainerInReach => {
                let reason = "the backend that the instance was on has returned, and removes its container first";
                Err(RequestError::Unavailable(reason.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::aggregate::{Aggregate, Meta};
    use dockhost_domain::ids::{EventId, InstanceId, UserId};
    use dockhost_domain::labels::Labels;
    use dockhost_domain::names::InstanceName;
    use dockhost_domain::placement::Choice;
    use dockhost_domain::tenancy::TenancyEvent;
    use dockhost_domain::tenancy::event::{ChangeRequested, Requested};
    use dockhost_domain::timestamp::Timestamp;
    use dockhost_domain::wire::{DesiredState, Limits, RestartPolicy};
    use uuid::Uuid;

    use super::*;

    const HERE: BackendId = BackendId::from_uuid(Uuid::from_u128(1));
    const OTHER: BackendId = BackendId::from_uuid(Uuid::from_u128(2));
    const INSTANCE: InstanceId = InstanceId::from_uuid(Uuid::from_u128(3));

    fn assignment(placement: u32, generation: u32, desired: DesiredState) -> Assignment {
        let user_id = UserId::from_uuid(Uuid::from_u128(4));
        Assignment { instance_id: INSTANCE, user_id, placement, generation, desired, container: None }
    }

    #[test]
    fn compare_with_each_state_says_whether_the_assignment_is_current() {
        let meta = Meta { id: EventId::from_uuid(Uuid::from_u128(5)), time: Timestamp::from_millis(0) };
        let deadline = Timestamp::from_millis(1);
        let mut state = Tenancy::default();
        let running = assignment(1, 1, DesiredState::Running);
        assert_eq!(compare(&state, HERE, &running), Comparison::StateTooOld, "before the request");
        let requested = Requested {
            instance_id: INSTANCE,
            name: "box".parse::<InstanceName>().unwrap().into(),
            ssh_public_key: "key".to_owned().into(),
            further_keys: Vec::new(),
            image: None,
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            choice: Choice { backend_id: HERE, used: 0, max_containers: 1, eligible: 1 },
            deadline,
            idempotency: None,
            restart: RestartPolicy::default(),
            requires: Labels::default(),
            size: None,
            on_lost: dockhost_domain::tenancy::OnLost::Wait,
            lifetime: dockhost_domain::tenancy::Lifetime::default(),
        };
        state.evolve(&TenancyEvent::Requested(requested), &meta);
        assert_eq!(compare(&state, HERE, &running), Comparison::Current);
        assert_eq!(compare(&state, OTHER, &running), Comparison::Obsolete, "another backend");
        assert_eq!(compare(&state, HERE, &assignment(1, 1, DesiredState::Stopped)), Comparison::Obsolete);
        assert_eq!(compare(&state, HERE, &assignment(1, 2, DesiredState::Running)), Comparison::StateTooOld);
        assert_eq!(compare(&state, HERE, &assignment(2, 1, DesiredState::Running)), Comparison::StateTooOld);
        let deletion = ChangeRequested { instance_id: INSTANCE, generation: 2, deadline, reason: None, moved_by: None };
        state.evolve(&TenancyEvent::DeleteRequested(deletion), &meta);
        assert_eq!(compare(&state, HERE, &running), Comparison::Obsolete, "deleted since");
    }
}
