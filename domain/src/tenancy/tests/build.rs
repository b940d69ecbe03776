//! The words of the tenancy's tests: instances and machines with short names, events and commands with few arguments.

use uuid::Uuid;

use crate::ids::{BackendId, InstanceId};
use crate::placement::{Candidate, Choice};
use crate::tenancy::event::*;
use crate::tenancy::{ChangeInstance, Facts, HandleDeadline, HandleReport, Policy, RequestInstance};
use crate::testing::at;
use crate::timestamp::Timestamp;
use crate::wire::{AgentError, DesiredState, Limits, Observation, Phase, Ports, Report, ReportKind};

/// Three machines; `A` is preferred to `B`, and `B` to `C`, when all are equally empty and the turn is 0.
pub const A: BackendId = backend(0xa);
pub const B: BackendId = backend(0xb);
pub const C: BackendId = backend(0xc);
/// The instance that most tests are about, and others.
pub const WEB: InstanceId = instance(1);
pub const DB: InstanceId = instance(2);
pub const CI: InstanceId = instance(3);

pub const LIMITS: Limits = Limits { memory_mib: 512, cpu_millis: 1000, pids: 256 };
pub const SSH_KEY: &str = "ssh-ed25519 AAAA ada";

pub const fn backend(n: u128) -> BackendId {
    BackendId::from_uuid(Uuid::from_u128(n))
}

pub const fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

/// These machines, heard and empty.
pub fn machines(backends: &[BackendId]) -> Vec<Candidate> {
    backends.iter().copied().map(candidate).collect()
}

/// A connected backend with room for 4 instances and none yet.
pub const fn candidate(backend_id: BackendId) -> Candidate {
    Candidate::new(backend_id, 4)
}

/// It is `now` seconds after the beginning, and all three machines are there.
pub fn facts(now: i64) -> Facts {
    facts_with(now, &[A, B, C])
}

/// It is `now` seconds after the beginning, and these machines are there.
pub fn facts_with(now: i64, backends: &[BackendId]) -> Facts {
    Facts { now: at(now), policy: Policy::default(), candidates: machines(backends), tie_breaker: 0 }
}

/// What [`crate::placement::place`] says of one of so many [`machines`].
pub fn choice(backend_id: BackendId, among: u32) -> Choice {
    Choice { backend_id, used: 0, max_containers: 4, eligible: among }
}

/// A request at second 0 for an instance that is named like the others of its owner, `ada`.
pub fn request(instance_id: InstanceId) -> RequestInstance {
    RequestInstance {
        instance_id,
        name: None,
        username: "ada".parse().unwrap(),
        ssh_public_key: SSH_KEY.to_owned(),
        image: None,
        limits: LIMITS,
        idempotency: None,
        quota: None,
        facts: facts(0),
    }
}

pub fn change(instance_id: InstanceId, to: DesiredState, now: i64) -> ChangeInstance {
    ChangeInstance { instance_id, to, now: at(now), policy: Policy::default() }
}

/// The timer of [`WEB`] for this generation fires, with all three machines there.
pub fn deadline(generation: u32, now: i64) -> HandleDeadline {
    HandleDeadline { instance_id: WEB, generation, facts: facts(now) }
}

/// A report on [`WEB`] at second 100; its position is `sequence`.
pub fn report(backend_id: BackendId, placement: u32, generation: u32, news: ReportKind, sequence: u64) -> HandleReport {
    HandleReport {
        backend_id,
        report: Report { instance_id: WEB, user_id: crate::testing::user(1), placement, generation, kind: news },
        position: position(sequence),
        facts: facts(100),
    }
}

pub const fn position(sequence: u64) -> ReportPosition {
    ReportPosition { incarnation: 1, sequence }
}

/// What an agent sees of container `c1`.
pub fn container(phase: Phase) -> Observation {
    Observation {
        phase,
        container_id: "c1".to_owned(),
        ports: Ports { ssh: 20000, http: 20001, https: 20002 },
        host_keys: Vec::new(),
    }
}

pub fn trouble(code: &str) -> AgentError {
    AgentError { code: code.to_owned(), message: format!("because of {code}") }
}

pub fn refused(code: &str) -> ReportKind {
    ReportKind::InstanceRefused(trouble(code))
}

pub fn could_not(code: &str) -> ReportKind {
    ReportKind::InstanceFailed(trouble(code))
}

pub fn status(phase: Phase) -> ReportKind {
    ReportKind::InstanceStatus(container(phase))
}

/// An instance on [`A`], by [`request`] with this name, to be answered by second 15.
pub fn requested(instance_id: InstanceId, name: &str) -> Requested {
    Requested {
        instance_id,
        name: name.parse::<crate::names::InstanceName>().unwrap().into(),
        ssh_public_key: SSH_KEY.to_owned().into(),
        image: None,
        limits: LIMITS,
        choice: choice(A, 3),
        deadline: at(15),
        idempotency: None,
    }
}

pub fn setback(backend_id: BackendId, reason: FailureReason) -> PlacementFailure {
    PlacementFailure { backend_id, reason }
}

pub fn refusal(backend_id: BackendId, code: &str) -> PlacementFailure {
    setback(backend_id, FailureReason::Refused(trouble(code)))
}

pub fn placed(placement: u32, choice: Choice, after: PlacementFailure, deadline: Timestamp) -> TenancyEvent {
    TenancyEvent::Placed(Placed { instance_id: WEB, placement, choice, deadline, failure: after })
}

/// [`WEB`]'s container is seen in its first placement by the report of this sequence.
pub fn observed(generation: u32, phase: Phase, sequence: u64) -> TenancyEvent {
    observed_until(generation, phase, sequence, None)
}

pub fn observed_until(generation: u32, phase: Phase, sequence: u64, deadline: Option<Timestamp>) -> TenancyEvent {
    let (seen, report) = (container(phase), position(sequence));
    TenancyEvent::Observed(Observed { instance_id: WEB, placement: 1, generation, observation: seen, report, deadline })
}

pub fn change_requested(generation: u32, deadline: i64) -> ChangeRequested {
    ChangeRequested { instance_id: WEB, generation, deadline: at(deadline) }
}

/// [`WEB`] fails without losing its container, by the report of this sequence or by its deadline.
pub fn failed(generation: u32, setback: PlacementFailure, report: Option<u64>) -> TenancyEvent {
    let report = report.map(position);
    TenancyEvent::Failed(Failed { instance_id: WEB, generation, failure: setback, abandons_placement: false, report })
}

/// [`WEB`] fails before it had a container.
pub fn given_up(generation: u32, setback: PlacementFailure, report: Option<u64>) -> TenancyEvent {
    let report = report.map(position);
    TenancyEvent::Failed(Failed { instance_id: WEB, generation, failure: setback, abandons_placement: true, report })
}

pub fn deleted(generation: u32, end: DeletionOutcome) -> TenancyEvent {
    TenancyEvent::Deleted(Deleted { instance_id: WEB, generation, outcome: end })
}

pub fn released(backend_id: BackendId, placement: u32) -> TenancyEvent {
    TenancyEvent::Released(Released { instance_id: WEB, backend_id, placement })
}

/// The pasts of [`WEB`], one for each state that an instance can be in.
pub mod past {
    use super::*;

    fn then(mut past: Vec<TenancyEvent>, event: TenancyEvent) -> Vec<TenancyEvent> {
        past.push(event);
        past
    }

    pub fn creating() -> Vec<TenancyEvent> {
        vec![TenancyEvent::Requested(requested(WEB, "web"))]
    }

    pub fn running() -> Vec<TenancyEvent> {
        then(creating(), observed(1, Phase::Running, 1))
    }

    /// Its container stopped by itself, and is to run again by second 50.
    pub fn recovering() -> Vec<TenancyEvent> {
        then(running(), observed_until(1, Phase::Stopped, 2, Some(at(50))))
    }

    pub fn stopping() -> Vec<TenancyEvent> {
        then(running(), TenancyEvent::StopRequested(change_requested(2, 40)))
    }

    pub fn stopped() -> Vec<TenancyEvent> {
        then(stopping(), observed(2, Phase::Stopped, 2))
    }

    pub fn resuming() -> Vec<TenancyEvent> {
        then(stopped(), TenancyEvent::ResumeRequested(change_requested(3, 60)))
    }

    /// It was to stop in time, and didn't.
    pub fn failed() -> Vec<TenancyEvent> {
        then(stopping(), super::failed(2, setback(A, FailureReason::Late), None))
    }

    pub fn never_created() -> Vec<TenancyEvent> {
        then(creating(), given_up(1, refusal(A, "no_ports"), Some(1)))
    }

    pub fn deleting() -> Vec<TenancyEvent> {
        then(running(), TenancyEvent::DeleteRequested(change_requested(2, 40)))
    }

    pub fn deleted() -> Vec<TenancyEvent> {
        then(deleting(), super::deleted(2, DeletionOutcome::Confirmed { backend_id: A }))
    }

    /// Its machine did not answer; it is still told to remove the container.
    pub fn abandoned() -> Vec<TenancyEvent> {
        then(deleting(), super::deleted(2, DeletionOutcome::Abandoned { backend_id: A }))
    }
}
