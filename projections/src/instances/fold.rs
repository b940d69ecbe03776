//! The fold of `instances`, by [`Instance::evolve`]. The document of a deleted instance is kept without personal values.

use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{Instance, TenancyEvent};

use super::{InstanceDocument, Instances};
use crate::model::ReadModel;

impl ReadModel for Instances {
    const KIND: &'static str = "tenancy";

    fn keys(event: &Envelope) -> Vec<InstanceId> {
        if let Event::Tenancy(event) = &event.event { event.instance_id().into_iter().collect() } else { Vec::new() }
    }

    fn fold(id: InstanceId, document: Option<InstanceDocument>, recorded: &RecordedEvent) -> Option<InstanceDocument> {
        let envelope = &recorded.envelope;
        let (Event::Tenancy(event), AggregateId::Tenancy(user_id)) = (&envelope.event, envelope.aggregate) else {
            return document;
        };
        let state = match (event, document) {
            (TenancyEvent::Requested(requested), _) => Instance::requested(requested, &envelope.meta),
            (event, Some(document)) => {
                let mut state = document.state;
                state.evolve(event, &envelope.meta);
                state
            }
            (_, None) => return None,
        };
        Some(InstanceDocument::of(id, user_id, state, recorded.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Folded;
    use crate::testing::events::{at, deleted, failed, observed, placed, requested, stop, tenancy, uuid};
    use dockhost_domain::ids::BackendId;
    use dockhost_domain::personal::Personal;
    use dockhost_domain::tenancy::Status;
    use dockhost_domain::wire::{DesiredState, Phase};

    fn after(events: &[(u64, TenancyEvent)]) -> InstanceDocument {
        let mut instances = Folded::<Instances>::default();
        for (sequence, event) in events {
            instances.fold(&tenancy(*sequence, 7, event.clone()));
        }
        instances.get(InstanceId::from_uuid(uuid(1))).unwrap().clone()
    }

    #[test]
    fn instances_fold_derives_the_members_from_the_state() {
        let events = [
            (1, requested(1, "web", 100)),
            (2, placed(1, 2, 101, 100)),
            (3, observed(1, 2, 1, Phase::Running)),
            (4, stop(1, 2)),
            (5, observed(1, 2, 2, Phase::Stopped)),
            (6, deleted(1, 3, 101)),
        ];
        let instance = after(&events[..1]);
        assert_eq!((instance.status, instance.placement, instance.seq), (Status::Creating, 1, 1));
        assert_eq!((&instance.container_id, instance.ports), (&None, None));
        assert_eq!(instance.deadline, Some(at(1_000_000)));
        let instance = after(&events[..3]);
        assert_eq!((instance.status, instance.placement), (Status::Running, 2));
        assert_eq!(instance.backend_id, Some(BackendId::from_uuid(uuid(101))));
        assert_eq!(instance.container_id.as_deref(), Some("container-2"));
        assert_eq!(instance.ports.unwrap().ssh, 20000);
        assert_eq!((instance.created_at, instance.last_activity, instance.deadline), (at(1), at(3), None));
        assert_eq!(after(&events[..4]).status, Status::Stopping);
        let instance = after(&events[..5]);
        assert_eq!(
            (instance.status, instance.wanted, instance.generation),
            (Status::Stopped, DesiredState::Stopped, 2)
        );
        let instance = after(&events);
        assert_eq!((instance.status, instance.backend_id), (Status::Deleted, None));
        assert_eq!((instance.name, instance.state.ssh_public_key), (None, Personal::Erased), "no personal values");
    }

    #[test]
    fn instances_fold_failure_has_a_reason() {
        let instance = after(&[(1, requested(1, "web", 100)), (2, failed(1, 1, 100))]);
        assert_eq!((instance.status, instance.failure.as_deref()), (Status::Failed, Some("refused: no free ports")));
    }
}
