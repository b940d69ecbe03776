//! Fixtures: instances and backends with short names, and events and commands with few arguments.

use uuid::Uuid;

use crate::ids::{BackendId, InstanceId};
use crate::labels::Labels;
use crate::placement::{Candidate, Choice};
use crate::quota::Quota;
use crate::reported::HostKeys;
use crate::tenancy::event::*;
use crate::tenancy::{ChangeInstance, Facts, HandleDeadline, HandleReport, Policy, RequestInstance};
use crate::testing::{at, user};
use crate::timestamp::Timestamp;
use crate::wire::{AgentError, DesiredState, Limits, Observation, Phase, Ports, Report, ReportKind, RestartPolicy};

/// Three backends. Among equals, tie breaker 0 chooses the first.
pub const A: BackendId = backend(0xa);
pub const B: BackendId = backend(0xb);
pub const C: BackendId = backend(0xc);
/// Three instances; most tests use `WEB`.
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

/// These backends, connected and empty.
pub fn candidates(backends: &[BackendId]) -> Vec<Candidate> {
    backends.iter().copied().map(candidate).collect()
}

/// A connected and empty backend with a capacity of 4.
pub fn candidate(backend_id: BackendId) -> Candidate {
    Candidate::new(backend_id, 4)
}

/// The facts at second `now`, with all three backends.
pub fn facts(now: i64) -> Facts {
    facts_with(now, &[A, B, C])
}

/// The facts at second `now`, with these backends.
pub fn facts_with(now: i64, backends: &[BackendId]) -> Facts {
    Facts { now: at(now), policy: Policy::default(), candidates: candidates(backends), tie_breaker: 0 }
}

/// The choice of one of `eligible` empty [`candidates`].
pub fn choice(backend_id: BackendId, eligible: u32) -> Choice {
    Choice { backend_id, used: 0, max_containers: 4, eligible }
}

/// A request by `ada` at second 0 for an instance with a default name.
pub fn request(instance_id: InstanceId) -> RequestInstance {
    RequestInstance {
        instance_id,
        name: None,
        username: "ada".parse().unwrap(),
        ssh_public_key: SSH_KEY.to_owned(),
        further_keys: Vec::new(),
        image: None,
        limits: LIMITS,
        requires: Labels::default(),
        size: None,
        on_lost: OnLost::Wait,
        lifetime: Lifetime::default(),
        idempotency: None,
        restart: RestartPolicy::default(),
        quota: Quota::default(),
        facts: facts(0),
    }
}

/// A quota of so many instances.
pub const fn at_most(instances: u32) -> Quota {
    Quota { instances: Some(instances), cpu_millis: None, memory_mib: None }
}

pub fn change(instance_id: InstanceId, to: DesiredState, now: i64) -> ChangeInstance {
    ChangeInstance { instance_id, to, now: at(now), policy: Policy::default() }
}

/// The deadline of [`WEB`] at this generation, handled at second `now`.
pub fn deadline(generation: u32, now: i64) -> HandleDeadline {
    HandleDeadline { instance_id: WEB, generation, facts: facts(now) }
}

/// A report about [`WEB`], handled at second 100.
pub fn report(backend_id: BackendId, placement: u32, generation: u32, kind: ReportKind, sequence: u64) -> HandleReport {
    HandleReport {
        backend_id,
        report: Report { instance_id: WEB, user_id: user(1), placement, generation, kind },
        position: position(sequence),
        facts: facts(100),
    }
}

pub const fn position(sequence: u64) -> ReportPosition {
    ReportPosition { incarnation: 1, sequence }
}

/// An observation of container `c1`.
pub fn observation(phase: Phase) -> Observation {
    Observation {
        phase,
        container_id: "c1".parse().unwrap(),
        ports: Ports { ssh: 20000, http: 20001, https: 20002 },
        host_keys: HostKeys::default(),
        ended: None,
    }
}

pub fn agent_error(code: &str) -> AgentError {
    AgentError { code: code.parse().unwrap(), message: format!("because of {code}").parse().unwrap() }
}

/// As [`agent_error`], recorded.
pub fn recorded_error(code: &str) -> RecordedError {
    RecordedError::from(&agent_error(code))
}

pub fn agent_refused(code: &str) -> ReportKind {
    ReportKind::InstanceRefused(agent_error(code))
}

pub fn agent_failed(code: &str) -> ReportKind {
    ReportKind::InstanceFailed(agent_error(code))
}

pub fn status(phase: Phase) -> ReportKind {
    ReportKind::InstanceStatus(observation(phase))
}

/// The event of [`request`] with this name: on [`A`], with the deadline at second 15.
pub fn requested(instance_id: InstanceId, name: &str) -> Requested {
    Requested {
        instance_id,
        name: name.parse::<crate::names::InstanceName>().unwrap().into(),
        ssh_public_key: SSH_KEY.to_owned().into(),
        further_keys: Vec::new(),
        image: None,
        limits: LIMITS,
        choice: choice(A, 3),
        deadline: at(15),
        idempotency: None,
        restart: RestartPolicy::default(),
        requires: Labels::default(),
        size: None,
        on_lost: OnLost::Wait,
        lifetime: Lifetime::default(),
    }
}

pub fn failure(backend_id: BackendId, reason: FailureReason) -> PlacementFailure {
    PlacementFailure { backend_id, reason }
}

pub fn refusal(backend_id: BackendId, code: &str) -> PlacementFailure {
    failure(backend_id, FailureReason::Refused(recorded_error(code)))
}

pub fn placed(placement: u32, choice: Choice, failure: PlacementFailure, deadline: Timestamp) -> TenancyEvent {
    TenancyEvent::Placed(Placed { instance_id: WEB, placement, choice, deadline, failure })
}

/// An observation of [`WEB`] in its first placement.
pub fn observed(generation: u32, phase: Phase, sequence: u64) -> TenancyEvent {
    observed_until(generation, phase, sequence, None)
}

pub fn observed_until(generation: u32, phase: Phase, sequence: u64, deadline: Option<Timestamp>) -> TenancyEvent {
    let (observation, report) = (RecordedObservation::from(&observation(phase)), position(sequence));
    TenancyEvent::Observed(Observed { instance_id: WEB, placement: 1, generation, observation, report, deadline })
}

pub fn change_requested(generation: u32, deadline: i64) -> ChangeRequested {
    ChangeRequested { instance_id: WEB, generation, deadline: at(deadline), reason: None, moved_by: None }
}

/// A failure of [`WEB`] that keeps its placement, by a report or a deadline.
pub fn failed(generation: u32, failure: PlacementFailure, report: Option<u64>) -> TenancyEvent {
    let report = report.map(position);
    TenancyEvent::Failed(Failed { instance_id: WEB, generation, failure, abandons_placement: false, report })
}

/// A failure of [`WEB`] that abandons its placement.
pub fn failed_unplaced(generation: u32, failure: PlacementFailure, report: Option<u64>) -> TenancyEvent {
    let report = report.map(position);
    TenancyEvent::Failed(Failed { instance_id: WEB, generation, failure, abandons_placement: true, report })
}

pub fn deleted(generation: u32, outcome: DeletionOutcome) -> TenancyEvent {
    TenancyEvent::Deleted(Deleted { instance_id: WEB, generation, outcome })
}

pub fn released(backend_id: BackendId, placement: u32) -> TenancyEvent {
    TenancyEvent::Released(Released { instance_id: WEB, backend_id, placement })
}

/// Histories of [`WEB`], one for each state of an instance.
pub mod history {
    use super::*;

    fn then(mut history: Vec<TenancyEvent>, event: TenancyEvent) -> Vec<TenancyEvent> {
        history.push(event);
        history
    }

    pub fn creating() -> Vec<TenancyEvent> {
        vec![TenancyEvent::Requested(requested(WEB, "web"))]
    }

    /// Its container exists and has not run.
    pub fn created() -> Vec<TenancyEvent> {
        then(creating(), observed(1, Phase::Stopped, 1))
    }

    pub fn running() -> Vec<TenancyEvent> {
        then(creating(), observed(1, Phase::Running, 1))
    }

    /// Its container exited and must run again by second 50.
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

    /// It did not stop in time.
    pub fn failed() -> Vec<TenancyEvent> {
        then(stopping(), super::failed(2, failure(A, FailureReason::Late), None))
    }

    pub fn never_created() -> Vec<TenancyEvent> {
        then(creating(), failed_unplaced(1, refusal(A, "no_ports"), Some(1)))
    }

    pub fn deleting() -> Vec<TenancyEvent> {
        then(running(), TenancyEvent::DeleteRequested(change_requested(2, 40)))
    }

    pub fn deleted() -> Vec<TenancyEvent> {
        then(deleting(), super::deleted(2, DeletionOutcome::Confirmed { backend_id: A }))
    }

    /// Its backend did not report; the assignment to remove the container remains.
    pub fn abandoned() -> Vec<TenancyEvent> {
        then(deleting(), super::deleted(2, DeletionOutcome::Abandoned { backend_id: A }))
    }

    /// Those in which nothing runs, and nothing is started again after it ran.
    pub fn neither_running_nor_resuming() -> [Vec<TenancyEvent>; 9] {
        [creating(), created(), stopping(), stopped(), failed(), never_created(), deleting(), deleted(), abandoned()]
    }
}

/// The settings of the first instance from now on, by its owner; it keeps its name.
pub fn settings_changed(on_lost: OnLost, lifetime: Lifetime) -> TenancyEvent {
    let (name, by_administrator) = (None, None);
    TenancyEvent::SettingsChanged(SettingsChanged { instance_id: WEB, on_lost, lifetime, name, by_administrator })
}
