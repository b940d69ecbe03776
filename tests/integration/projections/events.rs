//! Log entries about numbered aggregates, and a log in memory.

use std::sync::{Arc, Mutex};

use dockhost_domain::account::{
    AccountEvent, Created, Disabled, DisabledInstances, Erased, ErasedBy, GroupChanged, Role, RoleChanged,
};
use dockhost_domain::aggregate::Meta;
use dockhost_domain::backend::{BackendEvent, Connected, Enrolled};
use dockhost_domain::envelope::{Actor, Envelope, Origin, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, EventId, GroupId, InstanceId, SessionId, UserId};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::labels::Labels;
use dockhost_domain::personal::Personal;
use dockhost_domain::placement::Choice;
use dockhost_domain::session::{Ended, Scope, SessionEvent, Started, TokenDetails};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_domain::tenancy::event::{
    Deleted, DeletionOutcome, Observed, RecordedObservation, RecordedPorts, ReportPosition, Requested,
};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Limits, Phase, RestartPolicy};
use dockhost_projections::store::Cause;
use dockhost_projections::{History, LogEntry, Unreadable};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use uuid::Uuid;

fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(u128::from(n))
}

pub fn user(n: u64) -> UserId {
    UserId::from_uuid(uuid(n))
}

pub fn backend(n: u64) -> BackendId {
    BackendId::from_uuid(uuid(n))
}

pub fn instance(n: u64) -> InstanceId {
    InstanceId::from_uuid(uuid(n))
}

pub fn group(n: u64) -> GroupId {
    GroupId::from_uuid(uuid(n))
}

pub fn at(sequence: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(sequence * 1000).unwrap())
}

fn recorded(sequence: u64, aggregate: AggregateId, event: impl Into<Event>) -> LogEntry {
    let meta = Meta { id: EventId::from_uuid(uuid(sequence)), time: at(sequence) };
    let origin = Origin::new(Actor::System, "test");
    RecordedEvent { sequence, envelope: Envelope { aggregate, meta, origin, event: event.into() } }.into()
}

pub fn signed_up(sequence: u64, n: u64, email: &str) -> LogEntry {
    let created = Created {
        username: Personal::Plain("ada".parse().unwrap()),
        email: Personal::Plain(email.to_owned()),
        password_verifier: Personal::Plain("verifier".to_owned()),
        ssh_public_key: None,
        role: Role::User,
        group_id: None,
    };
    recorded(sequence, AggregateId::Account(user(n)), AccountEvent::Created(created))
}

pub fn made_admin(sequence: u64, n: u64) -> LogEntry {
    let changed = RoleChanged { role: Role::Admin };
    recorded(sequence, AggregateId::Account(user(n)), AccountEvent::RoleChanged(changed))
}

/// The user is put into the group.
pub fn put_into(sequence: u64, n: u64, group_id: u64) -> LogEntry {
    let changed = GroupChanged { group_id: Some(group(group_id)) };
    recorded(sequence, AggregateId::Account(user(n)), AccountEvent::GroupChanged(changed))
}

pub fn disabled(sequence: u64, n: u64) -> LogEntry {
    let disabled = Disabled { reason: None, instances: DisabledInstances::Leave };
    recorded(sequence, AggregateId::Account(user(n)), AccountEvent::Disabled(disabled))
}

pub fn erased(sequence: u64, n: u64) -> LogEntry {
    let erased = Erased { by: ErasedBy::Operator };
    recorded(sequence, AggregateId::Account(user(n)), AccountEvent::Erased(erased))
}

pub fn session(n: u64) -> SessionId {
    SessionId::from_uuid(uuid(n))
}

/// Ends at the second `expires_at`.
pub fn signed_in(sequence: u64, owner: u64, n: u64, expires_at: u64) -> LogEntry {
    let started =
        Started { session_id: session(n), expires_at: at(expires_at), token: None, client: None, refresh_until: None };
    recorded(sequence, AggregateId::Session(user(owner).into()), SessionEvent::Started(started))
}

/// An API token, which is valid for long.
pub fn made_token(sequence: u64, owner: u64, n: u64) -> LogEntry {
    let name = Personal::Plain("laptop".parse().unwrap());
    let token = Some(TokenDetails { name, scope: Scope::Read });
    let started =
        Started { session_id: session(n), expires_at: at(1_000_000), token, client: None, refresh_until: None };
    recorded(sequence, AggregateId::Session(user(owner).into()), SessionEvent::Started(started))
}

pub fn sessions_ended(sequence: u64, owner: u64, ended: &[u64]) -> LogEntry {
    let ended = Ended { session_ids: ended.iter().map(|n| session(*n)).collect() };
    recorded(sequence, AggregateId::Session(user(owner).into()), SessionEvent::Ended(ended))
}

pub fn enrolled(sequence: u64, n: u64) -> LogEntry {
    let enrolled = Enrolled {
        username: Personal::Plain("lab".parse().unwrap()),
        password_verifier: Personal::Plain("verifier".to_owned()),
        lab_name: None,
        operating_system: None,
        max_containers: 8,
        key_version: 1,
        awaits_approval: false,
        token: None,
    };
    recorded(sequence, AggregateId::Backend(backend(n)), BackendEvent::Enrolled(enrolled))
}

pub fn connected(sequence: u64, n: u64, address: &str) -> LogEntry {
    let connected = Connected {
        address: Personal::Plain(address.to_owned()),
        runtime: "simulated".to_owned(),
        agent_version: "0.1.0".to_owned(),
    };
    recorded(sequence, AggregateId::Backend(backend(n)), BackendEvent::Connected(connected))
}

pub fn requested(sequence: u64, owner: u64, n: u64, name: &str, key: &str) -> LogEntry {
    requested_on(sequence, owner, (instance(n), backend(100)), name, key)
}

/// The instance with this id is placed on this backend.
pub fn requested_on(
    sequence: u64,
    owner: u64,
    (instance_id, backend_id): (InstanceId, BackendId),
    name: &str,
    key: &str,
) -> LogEntry {
    let requested = Requested {
        instance_id,
        name: Personal::Plain(name.parse().unwrap()),
        ssh_public_key: Personal::Plain(key.to_owned()),
        further_keys: Vec::new(),
        image: None,
        limits: Limits { memory_mib: 512, cpu_millis: 1000, pids: 256 },
        choice: Choice { backend_id, used: 0, max_containers: 8, eligible: 1 },
        deadline: at(1_000_000),
        idempotency: None,
        restart: RestartPolicy::default(),
        requires: Labels::default(),
        size: None,
        on_lost: dockhost_domain::tenancy::OnLost::Wait,
        lifetime: dockhost_domain::tenancy::Lifetime::default(),
    };
    recorded(sequence, AggregateId::Tenancy(user(owner)), TenancyEvent::Requested(requested))
}

pub fn runs(sequence: u64, owner: u64, n: u64) -> LogEntry {
    runs_as(sequence, owner, instance(n))
}

pub fn runs_as(sequence: u64, owner: u64, instance_id: InstanceId) -> LogEntry {
    let observed = Observed {
        instance_id,
        placement: 1,
        generation: 1,
        observation: RecordedObservation {
            phase: Phase::Running,
            container_id: format!("container-at-{sequence}"),
            ports: RecordedPorts { ssh: 20000, http: 20001, https: 20002 },
            host_keys: vec!["SHA256:abc".to_owned()],
            ended: None,
        },
        report: ReportPosition { incarnation: 1, sequence },
        deadline: None,
    };
    recorded(sequence, AggregateId::Tenancy(user(owner)), TenancyEvent::Observed(observed))
}

pub fn deleted(sequence: u64, owner: u64, n: u64) -> LogEntry {
    deleted_as(sequence, owner, (instance(n), backend(100)))
}

pub fn deleted_as(sequence: u64, owner: u64, (instance_id, backend_id): (InstanceId, BackendId)) -> LogEntry {
    let outcome = DeletionOutcome::Confirmed { backend_id };
    let deleted = Deleted { instance_id, generation: 2, outcome };
    recorded(sequence, AggregateId::Tenancy(user(owner)), TenancyEvent::Deleted(deleted))
}

/// The subject of an entry's aggregate.
pub fn subject(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Event(recorded) => recorded.envelope.aggregate.to_string(),
        LogEntry::Unreadable(unreadable) => unreadable.subject.clone(),
    }
}

/// The entries after a position.
pub fn after(log: &Log, position: u64) -> Vec<LogEntry> {
    log.entries().into_iter().filter(|entry| entry.sequence() > position).collect()
}

/// A log in memory that can grow while it is read.
#[derive(Debug, Clone)]
pub struct Log {
    incarnation: Incarnation,
    entries: Arc<Mutex<Vec<LogEntry>>>,
}

impl Log {
    pub fn of(incarnation: Incarnation, entries: &[LogEntry]) -> Self {
        Self { incarnation, entries: Arc::new(Mutex::new(entries.to_vec())) }
    }

    pub fn append(&self, entry: LogEntry) {
        self.entries.lock().unwrap().push(entry);
    }

    /// The same log as read by a program that does not know the types of the events at these sequences.
    pub fn unreadable_at(&self, sequences: &[u64]) -> Self {
        let entries = self.entries().into_iter().map(|entry| {
            if sequences.contains(&entry.sequence()) {
                LogEntry::Unreadable(Unreadable::new(subject(&entry), entry.sequence(), "unknown type"))
            } else {
                entry
            }
        });
        Self { incarnation: self.incarnation.clone(), entries: Arc::new(Mutex::new(entries.collect())) }
    }

    /// All entries, in order.
    pub fn entries(&self) -> Vec<LogEntry> {
        self.entries.lock().unwrap().clone()
    }

    fn select(&self, (after, to): (u64, u64), wanted: impl Fn(&str) -> bool) -> BoxStream<'_, Result<LogEntry, Cause>> {
        let in_range = |entry: &LogEntry| (after + 1..=to).contains(&entry.sequence());
        let selected = self.entries().into_iter().filter(|entry| in_range(entry) && wanted(&subject(entry)));
        Box::pin(stream::iter(selected.map(Ok).collect::<Vec<_>>()))
    }
}

impl History for Log {
    fn incarnation(&self) -> Incarnation {
        self.incarnation.clone()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        let end = self.entries.lock().unwrap().last().map_or(0, LogEntry::sequence);
        Box::pin(async move { Ok(end) })
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.select((after, to), |_| true)
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.select((after, to), |subject| subject.starts_with(&format!("dockhost.event.{kind}.")))
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.select((after, to), |subject| subject == aggregate.to_string())
    }
}

/// A log whose filtered reads never end.
pub struct StalledLog(pub Log);

impl History for StalledLog {
    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        self.0.end()
    }

    fn read_all(&self, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read_all(after, to)
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read(kind, after, to).chain(stream::pending()).boxed()
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.0.read_one(aggregate, after, to)
    }
}
