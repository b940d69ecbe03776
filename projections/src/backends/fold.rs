//! The fold of `backends`.

use dockhost_domain::backend::{BackendEvent, ConnectionState, Drain};
use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::BackendId;
use dockhost_domain::personal::Personal;
use dockhost_domain::subject::AggregateId;

use super::{BackendDocument, Backends};
use crate::model::ReadModel;

fn plain(value: Option<&Personal<String>>) -> Option<String> {
    value.and_then(|value| value.plain().cloned())
}

impl ReadModel for Backends {
    const KIND: &'static str = "backend";

    fn keys(event: &Envelope) -> Vec<BackendId> {
        if let AggregateId::Backend(id) = event.aggregate { vec![id] } else { Vec::new() }
    }

    fn fold(id: BackendId, document: Option<BackendDocument>, recorded: &RecordedEvent) -> Option<BackendDocument> {
        let Event::Backend(event) = &recorded.envelope.event else { return document };
        let time = recorded.envelope.meta.time;
        match event {
            BackendEvent::Enrolled(enrolled) => Some(BackendDocument {
                backend_id: id,
                username: enrolled.username.plain().cloned(),
                lab_name: plain(enrolled.lab_name.as_ref()),
                operating_system: plain(enrolled.operating_system.as_ref()),
                max_containers: enrolled.capacity(),
                requested_max_containers: enrolled.max_containers,
                awaits_approval: enrolled.awaits_approval,
                cordoned_at: None,
                drain: None,
                labels: enrolled.labels(),
                key_revoked_at: None,
                removed_at: None,
                status: ConnectionState::Enrolled,
                address: None,
                runtime: None,
                agent_version: None,
                enrolled_at: time,
                connected_at: None,
                lost_at: None,
                seq: recorded.sequence,
            }),
            BackendEvent::Connected(facts) => document.map(|backend| BackendDocument {
                status: ConnectionState::Connected,
                address: plain(Some(&facts.address)),
                runtime: Some(facts.runtime.clone()),
                agent_version: Some(facts.agent_version.clone()),
                // A connected backend may report changed facts.
                connected_at: if backend.status == ConnectionState::Connected {
                    backend.connected_at
                } else {
                    Some(time)
                },
                lost_at: None,
                ..backend
            }),
            BackendEvent::Lost(_) => document.map(|backend| BackendDocument {
                status: ConnectionState::Lost,
                lost_at: Some(time),
                ..backend
            }),
            BackendEvent::Cordoned(_) => document.map(|backend| BackendDocument { cordoned_at: Some(time), ..backend }),
            BackendEvent::Uncordoned(_) => {
                document.map(|backend| BackendDocument { cordoned_at: None, drain: None, ..backend })
            }
            BackendEvent::DrainStarted(started) => document.map(|backend| BackendDocument {
                drain: Some(Drain::started(started, time, backend.drain, backend.cordoned_at.is_some())),
                cordoned_at: backend.cordoned_at.or(Some(time)),
                ..backend
            }),
            BackendEvent::DrainEnded(_) => document.map(|backend| BackendDocument {
                drain: backend.drain.map(|drain| Drain { ended_at: Some(time), ..drain }),
                ..backend
            }),
            BackendEvent::DrainCancelled(_) => document.map(|backend| BackendDocument {
                cordoned_at: backend.cordoned_at.filter(|_| backend.drain.is_none_or(|drain| drain.was_cordoned)),
                drain: None,
                ..backend
            }),
            BackendEvent::Approved(approved) => document.map(|backend| BackendDocument {
                awaits_approval: false,
                max_containers: approved.max_containers,
                ..backend
            }),
            BackendEvent::LabelsSet(set) => {
                document.map(|backend| BackendDocument { labels: set.labels.clone(), ..backend })
            }
            BackendEvent::KeyRevoked(_) => {
                document.map(|backend| BackendDocument { key_revoked_at: Some(time), ..backend })
            }
            BackendEvent::KeyIssued(_) => document.map(|backend| BackendDocument { key_revoked_at: None, ..backend }),
            BackendEvent::Removed(_) => document.map(|backend| BackendDocument { removed_at: Some(time), ..backend }),
            BackendEvent::CapacitySet(set) => {
                document.map(|backend| BackendDocument { max_containers: set.max_containers, ..backend })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Folded;
    use crate::testing::events::{at, awaiting_approval, backend, connected, enrolled, lost, uuid};
    use dockhost_domain::backend::{
        Approved, CapacitySet, Cordoned, DrainCancelled, DrainEnded, DrainStarted, KeyIssued, KeyRevoked, LabelsSet,
        Removed, Uncordoned,
    };
    use dockhost_domain::labels::Labels;
    use serde_json::json;

    fn after(events: &[(u64, BackendEvent)]) -> BackendDocument {
        let mut backends = Folded::<Backends>::default();
        for (sequence, event) in events {
            backends.fold(&backend(*sequence, 1, event.clone()));
        }
        backends.get(BackendId::from_uuid(uuid(1))).unwrap().clone()
    }

    #[test]
    fn backends_fold_enrolled_backend_has_no_verifier() {
        let expected = json!({
            "_id": uuid(1).to_string(), "username": "lab", "labName": "lab 1", "operatingSystem": null,
            "maxContainers": 8, "requestedMaxContainers": 8, "awaitsApproval": false, "cordonedAt": null, "labels": {}, "keyRevokedAt": null, "removedAt": null, "status": "enrolled", "address": null, "runtime": null, "agentVersion": null,
            "enrolledAt": "1970-01-01T00:00:02.000Z", "connectedAt": null, "lostAt": null, "seq": 2,
        });
        assert_eq!(serde_json::to_value(after(&[(2, enrolled("lab"))])).unwrap(), expected);
    }

    #[test]
    fn backends_fold_shows_what_an_administrator_decided() {
        let mut events = vec![
            (1, awaiting_approval("lab")),
            (2, BackendEvent::Cordoned(Cordoned {})),
            (3, BackendEvent::Approved(Approved { max_containers: 3 })),
        ];
        let machine = after(&events[..1]);
        assert_eq!((machine.awaits_approval, machine.cordoned_at, machine.max_containers), (true, None, 8));
        let machine = after(&events);
        assert_eq!((machine.awaits_approval, machine.cordoned_at, machine.max_containers), (false, Some(at(2)), 3));
        events.push((4, BackendEvent::Uncordoned(Uncordoned {})));
        events.push((5, BackendEvent::CapacitySet(CapacitySet { max_containers: 5 })));
        let machine = after(&events);
        assert_eq!((machine.cordoned_at, machine.max_containers, machine.requested_max_containers), (None, 5, 8));
        events.push((6, BackendEvent::DrainStarted(DrainStarted { deadline: at(60), retire: true })));
        let machine = after(&events);
        let drain = machine.drain.unwrap();
        assert_eq!((machine.cordoned_at, drain.deadline, drain.retire), (Some(at(6)), at(60), true));
        events.push((7, BackendEvent::DrainEnded(DrainEnded { left: 0 })));
        assert_eq!(after(&events).drain.unwrap().ended_at, Some(at(7)));
        events.push((8, BackendEvent::DrainCancelled(DrainCancelled {})));
        let machine = after(&events);
        assert_eq!((machine.cordoned_at, machine.drain), (None, None));
        events.push((9, BackendEvent::KeyRevoked(KeyRevoked { key_version: 1 })));
        assert_eq!(after(&events).key_revoked_at, Some(at(9)));
        events.push((10, BackendEvent::KeyIssued(KeyIssued { key_version: 2, previous_until: None })));
        events.push((11, BackendEvent::Removed(Removed { forced: false })));
        let labels: Labels = serde_json::from_value(json!({ "gpu": "yes" })).unwrap();
        events.push((12, BackendEvent::LabelsSet(LabelsSet { labels: labels.clone() })));
        let machine = after(&events);
        assert_eq!((machine.key_revoked_at, machine.removed_at, machine.labels), (None, Some(at(11)), labels));
    }

    #[test]
    fn backends_fold_changed_facts_keep_the_time_of_connection() {
        let machine = after(&[(1, enrolled("lab")), (2, connected("10.0.0.1")), (3, connected("10.0.0.2"))]);
        assert_eq!((machine.status, machine.connected_at), (ConnectionState::Connected, Some(at(2))));
        assert_eq!(machine.address.as_deref(), Some("10.0.0.2"));
    }

    #[test]
    fn backends_fold_lost_backend_keeps_its_address_until_it_reconnects() {
        let events = [(1, enrolled("lab")), (2, connected("10.0.0.1")), (5, lost()), (9, connected("10.0.0.1"))];
        let machine = after(&events[..3]);
        assert_eq!(
            (machine.status, machine.connected_at, machine.lost_at),
            (ConnectionState::Lost, Some(at(2)), Some(at(5)))
        );
        assert_eq!(machine.address.as_deref(), Some("10.0.0.1"));
        let machine = after(&events);
        assert_eq!(
            (machine.status, machine.connected_at, machine.lost_at),
            (ConnectionState::Connected, Some(at(9)), None)
        );
    }
}
