//! Events about numbered aggregates. The event at sequence `n` happened `n` seconds after 1970.

use dockhost_domain::account::{AccountEvent, Created, Erased, ErasedBy, Role, RoleChanged};
use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::{BackendEvent, Connected, Enrolled, Lost};
use dockhost_domain::envelope::{Actor, Envelope, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, EventId, InstanceId, PrincipalId, SessionId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::personal::Personal;
use dockhost_domain::placement::Choice;
use dockhost_domain::session::{Closed, Revoked, SessionEvent, Started};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{
    ChangeRequested, Deleted, DeletionOutcome, Failed, FailureReason, Observed, Placed, PlacementFailure,
    RecordedError, RecordedObservation, RecordedPorts, Released, ReportPosition, Requested, TenancyEvent,
};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Limits, Phase, RestartPolicy};
use uuid::Uuid;

pub(crate) fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(u128::from(n))
}

pub(crate) fn at(sequence: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(sequence * 1000).unwrap())
}

pub(crate) fn recorded(sequence: u64, aggregate: AggregateId, event: impl Into<Event>) -> RecordedEvent {
    let meta = Meta { id: EventId::from_uuid(uuid(sequence)), time: at(sequence) };
    let origin = Origin::new(Actor::System, "test");
    RecordedEvent { sequence, envelope: Envelope { aggregate, meta, origin, event: event.into() } }
}

pub(crate) fn account(sequence: u64, user: u64, event: AccountEvent) -> RecordedEvent {
    recorded(sequence, AggregateId::Account(UserId::from_uuid(uuid(user))), event)
}

pub(crate) fn backend(sequence: u64, backend: u64, event: BackendEvent) -> RecordedEvent {
    recorded(sequence, AggregateId::Backend(BackendId::from_uuid(uuid(backend))), event)
}

pub(crate) fn session(sequence: u64, principal: u64, event: SessionEvent) -> RecordedEvent {
    recorded(sequence, AggregateId::Session(PrincipalId::from_uuid(uuid(principal))), event)
}

pub(crate) fn tenancy(sequence: u64, user: u64, event: TenancyEvent) -> RecordedEvent {
    recorded(sequence, AggregateId::Tenancy(UserId::from_uuid(uuid(user))), event)
}

pub(crate) fn created(name: &str) -> AccountEvent {
    AccountEvent::Created(Created {
        username: Personal::Plain(name.parse().unwrap()),
        email: Personal::Plain(format!("{name}@example.org")),
        password_verifier: Personal::Plain("$argon2id$verifier".to_owned()),
        ssh_public_key: Some(Personal::Plain("ssh-ed25519 AAAA".to_owned())),
        role: Role::User,
        group_id: None,
    })
}

pub(crate) fn role_changed(role: Role) -> AccountEvent {
    AccountEvent::RoleChanged(RoleChanged { role })
}

pub(crate) fn erased() -> AccountEvent {
    AccountEvent::Erased(Erased { by: ErasedBy::Operator })
}

pub(crate) fn enrolled(name: &str) -> BackendEvent {
    BackendEvent::Enrolled(registration(name))
}

pub(crate) fn awaiting_approval(name: &str) -> BackendEvent {
    BackendEvent::Enrolled(Enrolled { awaits_approval: true, ..registration(name) })
}

fn registration(name: &str) -> Enrolled {
    Enrolled {
        username: Personal::Plain(name.parse().unwrap()),
        password_verifier: Personal::Plain("$argon2id$verifier".to_owned()),
        lab_name: Some(Personal::Plain("lab 1".to_owned())),
        operating_system: None,
        max_containers: 8,
        key_version: 1,
        awaits_approval: false,
        token: None,
    }
}

pub(crate) fn connected(address: &str) -> BackendEvent {
    BackendEvent::Connected(Connected {
        address: Personal::Plain(address.to_owned()),
        runtime: "simulated".to_owned(),
        agent_version: "0.1.0".to_owned(),
    })
}

pub(crate) fn lost() -> BackendEvent {
    BackendEvent::Lost(Lost { silent_for_seconds: 15 })
}

pub(crate) fn started(id: u64) -> SessionEvent {
    SessionEvent::Started(Started {
        session_id: SessionId::from_uuid(uuid(id)),
        expires_at: at(86_400),
        token: None,
        client: None,
        refresh_until: None,
    })
}

pub(crate) fn revoked(id: u64) -> SessionEvent {
    SessionEvent::Revoked(Revoked { session_id: SessionId::from_uuid(uuid(id)), reason: None })
}

pub(crate) fn closed(ids: &[u64]) -> SessionEvent {
    SessionEvent::Closed(Closed { session_ids: ids.iter().map(|id| SessionId::from_uuid(uuid(*id))).collect() })
}

fn choice(backend: u64) -> Choice {
    Choice { backend_id: BackendId::from_uuid(uuid(backend)), used: 0, max_containers: 8, eligible: 1 }
}

fn instance(id: u64) -> InstanceId {
    InstanceId::from_uuid(uuid(id))
}

pub(crate) fn requested(id: u64, name: &str, backend: u64) -> TenancyEvent {
    TenancyEvent::Requested(Requested {
        instance_id: instance(id),
        name: Personal::Plain(name.parse().unwrap()),
        ssh_public_key: Personal::Plain("ssh-ed25519 AAAA".to_owned()),
        further_keys: Vec::new(),
        image: None,
        limits: Limits { memory_mib: 512, cpu_millis: 1000, pids: 256 },
        choice: choice(backend),
        deadline: at(1_000_000),
        idempotency: None,
        restart: RestartPolicy::default(),
        requires: Labels::default(),
        size: None,
        on_lost: dockhost_domain::tenancy::OnLost::Wait,
        lifetime: dockhost_domain::tenancy::Lifetime::default(),
    })
}

pub(crate) fn placed(id: u64, placement: u32, backend: u64, before: u64) -> TenancyEvent {
    let failure = failure_on(before);
    TenancyEvent::Placed(Placed {
        instance_id: instance(id),
        placement,
        choice: choice(backend),
        deadline: at(1_000_001),
        failure,
    })
}

fn failure_on(backend: u64) -> PlacementFailure {
    let trouble = RecordedError { code: "no_ports".to_owned(), message: Personal::Plain("no free ports".to_owned()) };
    PlacementFailure { backend_id: BackendId::from_uuid(uuid(backend)), reason: FailureReason::Refused(trouble) }
}

pub(crate) fn observed(id: u64, placement: u32, generation: u32, phase: Phase) -> TenancyEvent {
    TenancyEvent::Observed(Observed {
        instance_id: instance(id),
        placement,
        generation,
        observation: RecordedObservation {
            phase,
            container_id: format!("container-{placement}"),
            ports: RecordedPorts { ssh: 20000, http: 20001, https: 20002 },
            host_keys: vec!["SHA256:abc".to_owned()],
            ended: None,
        },
        report: ReportPosition { incarnation: 1, sequence: u64::from(generation) },
        deadline: None,
    })
}

fn change(id: u64, generation: u32) -> ChangeRequested {
    ChangeRequested { instance_id: instance(id), generation, deadline: at(1_000_002), reason: None, moved_by: None }
}

pub(crate) fn stop(id: u64, generation: u32) -> TenancyEvent {
    TenancyEvent::StopRequested(change(id, generation))
}

pub(crate) fn resume(id: u64, generation: u32) -> TenancyEvent {
    TenancyEvent::ResumeRequested(change(id, generation))
}

pub(crate) fn delete(id: u64, generation: u32) -> TenancyEvent {
    TenancyEvent::DeleteRequested(change(id, generation))
}

pub(crate) fn failed(id: u64, generation: u32, backend: u64) -> TenancyEvent {
    let failure = failure_on(backend);
    TenancyEvent::Failed(Failed {
        instance_id: instance(id),
        generation,
        failure,
        abandons_placement: true,
        report: None,
    })
}

pub(crate) fn deleted(id: u64, generation: u32, backend: u64) -> TenancyEvent {
    let outcome = DeletionOutcome::Confirmed { backend_id: BackendId::from_uuid(uuid(backend)) };
    TenancyEvent::Deleted(Deleted { instance_id: instance(id), generation, outcome })
}

pub(crate) fn released(id: u64, backend: u64, placement: u32) -> TenancyEvent {
    let backend_id = BackendId::from_uuid(uuid(backend));
    TenancyEvent::Released(Released { instance_id: instance(id), backend_id, placement })
}
