//! I3, I4 and the users' half of I6: the log, decided again.
//!
//! In: each aggregate's events in order. Out: appends whose expectation was not their subject's last sequence, events
//! that the rules would not have decided upon the state before them, states that are not legal, and users with more
//! instances than they may have. The rules are the domain's own: from each event the command behind it is made again
//! and decided; what depends on the machines of that moment (which one, by when) is taken from the event.

use dockhost_domain::account::{Account, AccountEvent, CreateAccount, EraseAccount};
use dockhost_domain::aggregate::{Aggregate, Command};
use dockhost_domain::backend::{Backend, BackendEvent, EnrolBackend, MarkConnected, MarkLost};
use dockhost_domain::claim::{Claim, ClaimEvent, ReleaseClaim, TakeClaim};
use dockhost_domain::envelope::Actor;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, UserId};
use dockhost_domain::placement::{Candidate, Choice};
use dockhost_domain::session::{CloseSessions, RevokeSession, SessionEvent, Sessions, StartSession};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{DeletionOutcome, FailureReason, PlacementFailure};
use dockhost_domain::tenancy::{
    ChangeInstance, CloseTenancy, Facts, HandleBackendLost, HandleDeadline, HandleReport, Policy, ReportPosition,
    RequestInstance, Tenancy, TenancyEvent, check_invariants,
};
use dockhost_domain::wire::{DesiredState, Report, ReportKind};
use serde_json::{Value, json};

use super::log::{Log, Logged};
use super::{Found, Invariant};

type Verdict = Result<(), String>;

pub(super) fn check(log: &Log, quota: u32, found: &mut Found) {
    for (aggregate, events) in log.aggregates() {
        expectations(aggregate, &events, found);
        match aggregate {
            AggregateId::Account(_) => replay::<Account>(aggregate, &events, found, |state, event, logged| {
                let recorded = &logged.recorded.envelope.event;
                match event {
                    AccountEvent::Created(created) => same(CreateAccount(created.clone()).decide(state), recorded),
                    AccountEvent::Erased(erased) => same(EraseAccount { by: erased.by }.decide(state), recorded),
                }
            }),
            AggregateId::Claim(_) => replay::<Claim>(aggregate, &events, found, |state, event, logged| match event {
                ClaimEvent::Taken(by) => {
                    same(TakeClaim { owner: by.owner }.decide(state), &logged.recorded.envelope.event)
                }
                ClaimEvent::Released(by) => {
                    same(ReleaseClaim { owner: by.owner }.decide(state), &logged.recorded.envelope.event)
                }
            }),
            AggregateId::Session(_) => {
                replay::<Sessions>(aggregate, &events, found, |state, event, logged| match event {
                    SessionEvent::Started(started) => {
                        same(StartSession(started.clone()).decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Revoked(revoked) => {
                        let command = RevokeSession { session_id: revoked.session_id };
                        same(command.decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Closed(_) => same(CloseSessions.decide(state), &logged.recorded.envelope.event),
                });
            }
            AggregateId::Backend(_) => replay::<Backend>(aggregate, &events, found, |state, event, logged| {
                let recorded = &logged.recorded.envelope.event;
                match event {
                    BackendEvent::Enrolled(details) => same(EnrolBackend(details.clone()).decide(state), recorded),
                    BackendEvent::Connected(facts) => same(MarkConnected(facts.clone()).decide(state), recorded),
                    BackendEvent::Lost(lost) => {
                        let command = MarkLost { silent_for_seconds: lost.silent_for_seconds };
                        same(command.decide(state), recorded)
                    }
                }
            }),
            AggregateId::Tenancy(user) => {
                replay::<Tenancy>(aggregate, &events, found, |state, event, logged| {
                    decided(user, state, event, logged)
                });
                quotas(user, &events, quota, found);
            }
        }
    }
}

/// I3.
fn expectations(aggregate: AggregateId, events: &[&Logged], found: &mut Found) {
    let mut previous = 0;
    for logged in events {
        match logged.expected {
            Some(expected) if expected == previous => {}
            Some(expected) => {
                let what = format!("the append expected {expected}, the subject ended at {previous}");
                found.add(Invariant::I3, what, [aggregate], [previous, logged.sequence()]);
            }
            None => found.add(Invariant::I3, "the append expected nothing", [aggregate], [logged.sequence()]),
        }
        previous = logged.sequence();
    }
}

/// I4: folds, and asks before each event whether it may come, and after it whether the state is legal.
fn replay<A: Aggregate>(
    aggregate: AggregateId,
    events: &[&Logged],
    found: &mut Found,
    allowed: impl Fn(&A, &A::Event, &Logged) -> Verdict,
) {
    let mut state = A::default();
    for logged in events {
        let envelope = &logged.recorded.envelope;
        let Some(event) = A::event(&envelope.event) else {
            found.add(Invariant::I4, "an event of another kind", [aggregate], [logged.sequence()]);
            continue;
        };
        if let Err(why) = allowed(&state, event, logged) {
            found.add(Invariant::I4, format!("{} {why}", logged.kind), [aggregate], [logged.sequence()]);
        }
        state.evolve(event, &envelope.meta);
        if let Some(tenancy) = (&state as &dyn std::any::Any).downcast_ref::<Tenancy>()
            && let Err(broken) = check_invariants(tenancy)
        {
            let what = format!("{} leaves a state that is not legal: {broken}", logged.kind);
            found.add(Invariant::I4, what, [aggregate], [logged.sequence()]);
        }
    }
}

/// Whether a decision is the event that was recorded, apart from what depended on the moment.
fn same<E: Into<Event>, R: std::fmt::Display>(decided: Result<Option<E>, R>, recorded: &Event) -> Verdict {
    match decided {
        Err(rejection) => Err(format!("would have been refused: {rejection}")),
        Ok(None) => Err("would have changed nothing".to_owned()),
        Ok(Some(event)) => {
            let (decided, recorded) = (timeless(&event.into()), timeless(recorded));
            if decided == recorded { Ok(()) } else { Err(format!("is not what is decided here: {decided}")) }
        }
    }
}

/// An event as JSON, without its deadline (only whether there is one) and the reasons of its placing.
fn timeless(event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or(Value::Null);
    if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
        if let Some(deadline) = data.get_mut("deadline") {
            *deadline = json!(!deadline.is_null());
        }
        if let Some(choice) = data.get_mut("choice") {
            *choice = choice["backendId"].clone();
        }
    }
    value
}

/// The command behind a tenancy's event, decided again.
fn decided(user: UserId, state: &Tenancy, event: &TenancyEvent, logged: &Logged) -> Verdict {
    let recorded = &logged.recorded.envelope.event;
    let now = logged.recorded.envelope.meta.time;
    let facts = |choice: Option<&Choice>| Facts {
        now,
        policy: Policy::default(),
        candidates: choice.into_iter().map(free).collect(),
        tie_breaker: 0,
    };
    let Some(instance_id) = event.instance_id() else {
        let TenancyEvent::Closed(closed) = event else { return Err("is of no instance".to_owned()) };
        return same(CloseTenancy { reason: closed.reason }.decide(state), recorded);
    };
    let instance = state.instance(instance_id);
    let (placement, generation) = instance.map_or((0, 0), |instance| (instance.placement, instance.generation));
    // What followed a failure: who said so, or which clock.
    let after = |failure: &PlacementFailure, choice: Option<&Choice>, position: Option<ReportPosition>| {
        let facts = facts(choice);
        let report = |kind| {
            let report = Report { instance_id, user_id: user, placement, generation, kind };
            let position = position.unwrap_or(LATEST);
            HandleReport { backend_id: failure.backend_id, report, position, facts: facts.clone() }.decide(state)
        };
        match &failure.reason {
            FailureReason::Refused(trouble) => same(report(ReportKind::InstanceRefused(trouble.clone())), recorded),
            FailureReason::Failed(trouble) => same(report(ReportKind::InstanceFailed(trouble.clone())), recorded),
            FailureReason::Late => same(HandleDeadline { instance_id, generation, facts }.decide(state), recorded),
            FailureReason::Lost => {
                same(HandleBackendLost { backend_id: failure.backend_id, instance_id, facts }.decide(state), recorded)
            }
        }
    };
    let change = |to| same(ChangeInstance { instance_id, to, now, policy: Policy::default() }.decide(state), recorded);
    match event {
        TenancyEvent::Requested(_) if instance.is_some() => Err("is of an instance that there is".to_owned()),
        TenancyEvent::Requested(requested) => {
            // Of an erased person nothing can be decided again.
            let (Some(name), Some(key)) = (requested.name.plain(), requested.ssh_public_key.plain()) else {
                return Ok(());
            };
            let command = RequestInstance {
                instance_id,
                name: Some(name.clone()),
                username: "anybody".parse().map_err(|error| format!("{error}"))?,
                ssh_public_key: key.clone(),
                image: requested.image.clone(),
                limits: requested.limits,
                idempotency: requested.idempotency.clone(),
                quota: None,
                facts: facts(Some(&requested.choice)),
            };
            same(command.decide(state), recorded)
        }
        TenancyEvent::Placed(placed) => after(&placed.failure, Some(&placed.choice), None),
        TenancyEvent::Failed(failed) => after(&failed.failure, None, failed.report),
        TenancyEvent::Observed(observed) => {
            let Actor::Backend(backend_id) = logged.recorded.envelope.origin.actor else {
                return Err("was not said by a backend".to_owned());
            };
            let kind = ReportKind::InstanceStatus(observed.observation.clone());
            let (placement, generation) = (observed.placement, observed.generation);
            let report = Report { instance_id, user_id: user, placement, generation, kind };
            let command = HandleReport { backend_id, report, position: observed.report, facts: facts(None) };
            same(command.decide(state), recorded)
        }
        TenancyEvent::StopRequested(_) => change(DesiredState::Stopped),
        TenancyEvent::ResumeRequested(_) => change(DesiredState::Running),
        TenancyEvent::DeleteRequested(_) => change(DesiredState::Deleted),
        TenancyEvent::Deleted(deleted) => match deleted.outcome {
            DeletionOutcome::Unplaced => change(DesiredState::Deleted),
            DeletionOutcome::Abandoned { .. } => {
                same(HandleDeadline { instance_id, generation, facts: facts(None) }.decide(state), recorded)
            }
            DeletionOutcome::Confirmed { backend_id } => {
                same(gone(user, backend_id, (instance_id, placement, generation), facts(None)).decide(state), recorded)
            }
        },
        TenancyEvent::Closed(_) => Err("is of an instance".to_owned()),
        TenancyEvent::Released(released) => {
            let what = (instance_id, released.placement, generation);
            same(gone(user, released.backend_id, what, facts(None)).decide(state), recorded)
        }
    }
}

/// After every report that was ever stored.
const LATEST: ReportPosition = ReportPosition { incarnation: u64::MAX, sequence: u64::MAX };

fn gone(
    user_id: UserId,
    backend_id: BackendId,
    (instance_id, placement, generation): (dockhost_domain::ids::InstanceId, u32, u32),
    facts: Facts,
) -> HandleReport {
    let report = Report { instance_id, user_id, placement, generation, kind: ReportKind::InstanceDeleted };
    HandleReport { backend_id, report, position: LATEST, facts }
}

/// The machine that was chosen, as if it were the only one.
fn free(choice: &Choice) -> Candidate {
    Candidate::new(choice.backend_id, u32::MAX)
}

/// I6, the users' half: at every prefix of the log.
fn quotas(user: UserId, events: &[&Logged], quota: u32, found: &mut Found) {
    let mut state = Tenancy::default();
    for logged in events {
        let Event::Tenancy(event) = &logged.recorded.envelope.event else { continue };
        state.evolve(event, &logged.recorded.envelope.meta);
        let has = state.existing().count();
        if matches!(event, TenancyEvent::Requested(_)) && has > quota as usize {
            let what = format!("{has} instances, {quota} are allowed");
            found.add(Invariant::I6, what, [format!("user {user}")], [logged.sequence()]);
        }
    }
}
