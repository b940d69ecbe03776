//! I3, I4, and I6 for users: replays each aggregate.
//!
//! The checker reconstructs each event's command and decides it with the domain's own rules on the state before the event.
//! It takes from the event what depended on the machines of that time (the chosen machine, the deadline).

use dockhost_domain::account::{
    Account, AccountEvent, AddKey, ChangePassword, ChangeProfile, ChangeRole, ChangeUserGroup, CreateAccount,
    DisableAccount, EnableAccount, EraseAccount, IssuePasswordReset, KeyAdded, RemoveKey,
};
use dockhost_domain::administrators::{
    AddAdministrator, Administrators, AdministratorsEvent, ChangedBy, RemoveAdministrator,
};
use dockhost_domain::aggregate::{Aggregate, Command};
use dockhost_domain::backend::{
    ApproveBackend, Backend, BackendEvent, CancelDrain, ChangeCordon, EndDrain, EnrolBackend, IssueKey, MarkConnected,
    MarkLost, RemoveBackend, RevokeKey, SetCapacity, SetLabels, StartDrain,
};
use dockhost_domain::claim::{Claim, ClaimEvent, ReleaseClaim, TakeClaim};
use dockhost_domain::enrolment::{
    CreateToken, EnrolmentTokens, EnrolmentTokensEvent, RevokeToken, TokenInvalid, UseToken,
};
use dockhost_domain::envelope::Actor;
use dockhost_domain::event::Event;
use dockhost_domain::group::{ChangeGroup, CreateGroup, DeleteGroup, GroupLimits, Groups, GroupsEvent};
use dockhost_domain::ids::{BackendId, SessionId, UserId};
use dockhost_domain::invitation::{
    CreateInvitation, InvitationInvalid, Invitations, InvitationsEvent, RevokeInvitation, UseInvitation,
};
use dockhost_domain::personal::Personal;
use dockhost_domain::placement::{Candidate, Choice};
use dockhost_domain::quota::Quota;
use dockhost_domain::refusal::{RecordRefusals, Refusals, RefusalsEvent};
use dockhost_domain::reported::ShortText;
use dockhost_domain::session::{
    CloseSessions, EndReason, EndSessions, MAX_IDLE, RefreshSession, Refreshed, ResumeSessions, RevokeSession, Revoked,
    SessionEvent, Sessions, StartSession, SuspendSessions,
};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{
    ChangeRequested, DeletionOutcome, FailureReason, MoveReason, PlacementFailure, RecordedError, StopReason,
};
use dockhost_domain::tenancy::{
    AdministerInstance, AdministerSettings, ChangeInstance, ChangeSettings, CloseTenancy, EndLifetime, Facts,
    HandleBackendLost, HandleBackendRemoved, HandleDeadline, HandleReport, MoveInstance, Occasion, Policy,
    ReportPosition, RequestInstance, ResumeTenancy, SetInstanceKeys, SetQuota, StopForDrain, StopForGroup,
    SuspendTenancy, Tenancy, TenancyEvent, check_invariants,
};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::Webhooks;
use dockhost_domain::wire::{AgentError, DesiredState, Report, ReportKind};
use serde_json::{Value, json};

use super::log::{Log, Logged};
use super::{Invariant, Violations, webhooks};

pub(super) type Check = Result<(), String>;

pub(super) fn check(log: &Log, quota: u32, violations: &mut Violations) {
    for (aggregate, events) in log.aggregates() {
        check_expectations(aggregate, &events, violations);
        match aggregate {
            AggregateId::Account(user_id) => {
                replay::<Account>(aggregate, &events, violations, |state, event, logged| {
                    let recorded = &logged.recorded.envelope.event;
                    match event {
                        AccountEvent::Created(created) => same(CreateAccount(created.clone()).decide(state), recorded),
                        AccountEvent::RoleChanged(changed) => {
                            same(ChangeRole { to: changed.role }.decide(state), recorded)
                        }
                        AccountEvent::GroupChanged(changed) => same(ChangeUserGroup(*changed).decide(state), recorded),
                        AccountEvent::PasswordChanged(changed) => {
                            same(ChangePassword(changed.clone()).decide(state), recorded)
                        }
                        AccountEvent::ProfileChanged(changed) => {
                            let text = |value: &Personal<String>| value.plain().cloned();
                            let change = ChangeProfile {
                                email: text(&changed.email),
                                ssh_public_key: Some(changed.ssh_public_key.as_ref().and_then(text)),
                            };
                            same(change.decide(state), recorded)
                        }
                        AccountEvent::KeyAdded(KeyAdded { key_id, name, public_key }) => {
                            // An erased user's values are no longer readable.
                            let (Some(name), Some(key)) = (name.plain(), public_key.plain()) else { return Ok(()) };
                            let (name, public_key) = (name.clone(), key.clone());
                            let add = AddKey { user_id, key_id: *key_id, name, public_key };
                            same(add.decide(state), recorded)
                        }
                        AccountEvent::KeyRemoved(removed) => {
                            same(RemoveKey { user_id, key_id: removed.key_id }.decide(state), recorded)
                        }
                        AccountEvent::PasswordResetIssued(issued) => {
                            same(IssuePasswordReset(issued.clone()).decide(state), recorded)
                        }
                        AccountEvent::Disabled(disabled) => {
                            same(DisableAccount(disabled.clone()).decide(state), recorded)
                        }
                        AccountEvent::Enabled(_) => same(EnableAccount.decide(state), recorded),
                        AccountEvent::Erased(erased) => same(EraseAccount { by: erased.by }.decide(state), recorded),
                    }
                });
            }
            AggregateId::Administrators(_) => {
                replay::<Administrators>(aggregate, &events, violations, |state, event, logged| {
                    let recorded = &logged.recorded.envelope.event;
                    let by = match logged.recorded.envelope.origin.actor {
                        Actor::Admin(id) => ChangedBy::Admin(id),
                        _ => ChangedBy::Operator,
                    };
                    match event {
                        AdministratorsEvent::Added(added) => {
                            same(AddAdministrator { user_id: added.user_id, by }.decide(state), recorded)
                        }
                        AdministratorsEvent::Removed(removed) => {
                            same(RemoveAdministrator { user_id: removed.user_id, by }.decide(state), recorded)
                        }
                    }
                });
            }
            AggregateId::Claim(_) => {
                replay::<Claim>(aggregate, &events, violations, |state, event, logged| match event {
                    ClaimEvent::Taken(by) => {
                        same(TakeClaim { owner: by.owner }.decide(state), &logged.recorded.envelope.event)
                    }
                    ClaimEvent::Released(by) => {
                        same(ReleaseClaim { owner: by.owner }.decide(state), &logged.recorded.envelope.event)
                    }
                });
            }
            AggregateId::Session(_) => {
                replay::<Sessions>(aggregate, &events, violations, |state, event, logged| match event {
                    SessionEvent::Started(started) => {
                        same(StartSession(started.clone()).decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Refreshed(refreshed) => {
                        let now = refreshed_at(state, refreshed, logged.recorded.envelope.meta.time);
                        let token_number = refreshed.token_number.saturating_sub(1);
                        let command = RefreshSession { session_id: refreshed.session_id, token_number, now };
                        same(command.decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Revoked(Revoked { session_id, reason: None }) => {
                        let command = RevokeSession { session_id: *session_id };
                        same(command.decide(state), &logged.recorded.envelope.event)
                    }
                    // The token that was spent first; which one was presented is not recorded.
                    SessionEvent::Revoked(Revoked { session_id, reason: Some(EndReason::RefreshTokenReused) }) => {
                        let now = logged.recorded.envelope.meta.time;
                        let command = RefreshSession { session_id: *session_id, token_number: 0, now };
                        same(command.decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Ended(ended) => {
                        let tokens = ended.session_ids.iter().any(|session| state.is_token(*session));
                        let stays = |session: &SessionId| {
                            !ended.session_ids.contains(session) && (tokens || !state.is_token(*session))
                        };
                        let except = state.ids().find(stays);
                        same(EndSessions { except, tokens }.decide(state), &logged.recorded.envelope.event)
                    }
                    SessionEvent::Suspended(_) => same(SuspendSessions.decide(state), &logged.recorded.envelope.event),
                    SessionEvent::Resumed(_) => same(ResumeSessions.decide(state), &logged.recorded.envelope.event),
                    SessionEvent::Closed(_) => same(CloseSessions.decide(state), &logged.recorded.envelope.event),
                });
            }
            AggregateId::Backend(_) => replay::<Backend>(aggregate, &events, violations, |state, event, logged| {
                let recorded = &logged.recorded.envelope.event;
                match event {
                    BackendEvent::Enrolled(details) => same(EnrolBackend(details.clone()).decide(state), recorded),
                    BackendEvent::Connected(facts) => same(MarkConnected(facts.clone()).decide(state), recorded),
                    BackendEvent::Lost(lost) => {
                        let command = MarkLost { silent_for_seconds: lost.silent_for_seconds };
                        same(command.decide(state), recorded)
                    }
                    BackendEvent::Cordoned(_) => same(ChangeCordon { cordoned: true }.decide(state), recorded),
                    BackendEvent::Uncordoned(_) => same(ChangeCordon { cordoned: false }.decide(state), recorded),
                    BackendEvent::Approved(approved) => {
                        let command = ApproveBackend { max_containers: Some(approved.max_containers) };
                        same(command.decide(state), recorded)
                    }
                    BackendEvent::LabelsSet(set) => {
                        same(SetLabels { labels: set.labels.clone() }.decide(state), recorded)
                    }
                    BackendEvent::KeyRevoked(_) => same(RevokeKey.decide(state), recorded),
                    BackendEvent::KeyIssued(issued) => {
                        same(IssueKey { previous_until: issued.previous_until }.decide(state), recorded)
                    }
                    BackendEvent::DrainStarted(started) => {
                        let command = StartDrain { deadline: started.deadline, retire: started.retire };
                        same(command.decide(state), recorded)
                    }
                    BackendEvent::DrainEnded(ended) => {
                        let drain = state.machine.as_ref().and_then(|machine| machine.drain);
                        let started_at = drain.map_or(logged.recorded.envelope.meta.time, |drain| drain.started_at);
                        same(EndDrain { started_at, left: ended.left }.decide(state), recorded)
                    }
                    BackendEvent::DrainCancelled(_) => same(CancelDrain.decide(state), recorded),
                    BackendEvent::Removed(removed) => {
                        same(RemoveBackend { force: removed.forced }.decide(state), recorded)
                    }
                    BackendEvent::CapacitySet(set) => {
                        same(SetCapacity { max_containers: set.max_containers }.decide(state), recorded)
                    }
                }
            }),
            AggregateId::EnrolmentTokens(_) => {
                replay::<EnrolmentTokens>(aggregate, &events, violations, |state, event, logged| {
                    let recorded = &logged.recorded.envelope.event;
                    let now = logged.recorded.envelope.meta.time;
                    match event {
                        EnrolmentTokensEvent::Created(token) => {
                            same(CreateToken { token: token.clone(), now }.decide(state), recorded)
                        }
                        EnrolmentTokensEvent::Used(used) => {
                            let hash = state.get(used.token_id).map(|token| token.hash.clone());
                            let by = |hash| UseToken { hash, backend_id: used.backend_id, now }.decide(state);
                            same(hash.map_or(Err(TokenInvalid), by), recorded)
                        }
                        EnrolmentTokensEvent::Revoked(revoked) => {
                            same(RevokeToken { token_id: revoked.token_id, now }.decide(state), recorded)
                        }
                    }
                });
            }
            AggregateId::Groups(_) => {
                replay::<Groups>(aggregate, &events, violations, |state, event, logged| {
                    let recorded = &logged.recorded.envelope.event;
                    match event {
                        GroupsEvent::Created(set) => same(CreateGroup(set.clone()).decide(state), recorded),
                        GroupsEvent::Changed(set) => {
                            let (group_id, group) = (set.group_id, &set.group);
                            let name = Some(group.name.clone());
                            let change = ChangeGroup {
                                group_id,
                                name,
                                max_instances: Some(group.max_instances),
                                max_cpu_millis: Some(group.max_cpu_millis),
                                max_memory_mib: Some(group.max_memory_mib),
                                ends_at: Some(group.ends_at),
                                time_to_live_minutes: Some(group.time_to_live_minutes),
                                autostop_minutes: Some(group.autostop_minutes),
                            };
                            same(change.decide(state), recorded)
                        }
                        GroupsEvent::Deleted(deleted) => {
                            same(DeleteGroup { group_id: deleted.group_id, in_use_by: 0 }.decide(state), recorded)
                        }
                    }
                });
            }
            AggregateId::Webhooks(_) => {
                replay::<Webhooks>(aggregate, &events, violations, |state, event, logged| {
                    webhooks::check(state, event, &logged.recorded.envelope.event)
                });
            }
            AggregateId::Refusals(_) => {
                replay::<Refusals>(aggregate, &events, violations, |state, event, logged| {
                    let RefusalsEvent::Counted(counted) = event;
                    same(RecordRefusals(counted.clone()).decide(state), &logged.recorded.envelope.event)
                });
            }
            AggregateId::Invitations(_) => {
                replay::<Invitations>(aggregate, &events, violations, |state, event, logged| {
                    let recorded = &logged.recorded.envelope.event;
                    let now = logged.recorded.envelope.meta.time;
                    match event {
                        InvitationsEvent::Created(invitation) => {
                            same(CreateInvitation { invitation: invitation.clone(), now }.decide(state), recorded)
                        }
                        InvitationsEvent::Used(used) => {
                            let hash = state.get(used.invitation_id).map(|invitation| invitation.details.hash.clone());
                            let by = |hash| UseInvitation { hash, user_id: used.user_id, now }.decide(state);
                            same(hash.map_or(Err(InvitationInvalid), by), recorded)
                        }
                        InvitationsEvent::Revoked(revoked) => {
                            let command = RevokeInvitation { invitation_id: revoked.invitation_id, now };
                            same(command.decide(state), recorded)
                        }
                    }
                });
            }
            AggregateId::Tenancy(user) => {
                replay::<Tenancy>(aggregate, &events, violations, |state, event, logged| {
                    check_tenancy_event(user, state, event, logged)
                });
                check_quota(user, &events, quota, violations);
            }
        }
    }
}

/// When a refresh was decided, which was a moment before it was recorded: the end that it gives the session says it, unless the
/// session is so old that any moment gives the same end.
fn refreshed_at(state: &Sessions, refreshed: &Refreshed, recorded_at: Timestamp) -> Timestamp {
    let Refreshed { session_id, expires_at, .. } = refreshed;
    if state.refresh_token(*session_id).is_some_and(|valid| valid.until == *expires_at) {
        return recorded_at;
    }
    let idle = i64::try_from(MAX_IDLE.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(expires_at.millis().saturating_sub(idle))
}

/// I3: the expectation is the subject's last sequence.
fn check_expectations(aggregate: AggregateId, events: &[&Logged], violations: &mut Violations) {
    let mut previous = 0;
    for logged in events {
        match logged.expected {
            Some(expected) if expected == previous => {}
            Some(expected) => {
                let what = format!("the append expected {expected}, the subject's last sequence was {previous}");
                violations.add(Invariant::I3, what, [aggregate], [previous, logged.sequence()]);
            }
            None => violations.add(Invariant::I3, "the append has no expectation", [aggregate], [logged.sequence()]),
        }
        previous = logged.sequence();
    }
}

/// I4: folds the events, and checks the decision before each event and the state after it.
fn replay<A: Aggregate>(
    aggregate: AggregateId,
    events: &[&Logged],
    violations: &mut Violations,
    check_decision: impl Fn(&A, &A::Event, &Logged) -> Check,
) {
    let mut state = A::default();
    for logged in events {
        let envelope = &logged.recorded.envelope;
        let Some(event) = A::event(&envelope.event) else {
            violations.add(
                Invariant::I4,
                "the event belongs to another kind of aggregate",
                [aggregate],
                [logged.sequence()],
            );
            continue;
        };
        if let Err(why) = check_decision(&state, event, logged) {
            violations.add(Invariant::I4, format!("{} {why}", logged.kind), [aggregate], [logged.sequence()]);
        }
        state.evolve(event, &envelope.meta);
        if let Some(tenancy) = (&state as &dyn std::any::Any).downcast_ref::<Tenancy>()
            && let Err(broken) = check_invariants(tenancy)
        {
            let what = format!("{} leads to an invalid state: {broken}", logged.kind);
            violations.add(Invariant::I4, what, [aggregate], [logged.sequence()]);
        }
    }
}

/// Checks that a decision equals the recorded event, without the parts that depended on the time.
pub(super) fn same<E: Into<Event>, R: std::fmt::Display>(decided: Result<Option<E>, R>, recorded: &Event) -> Check {
    match decided {
        Err(rejection) => Err(format!("would have been refused: {rejection}")),
        Ok(None) => Err("would have changed nothing".to_owned()),
        Ok(Some(event)) => {
            let (decided, recorded) =
                (without_time_dependent_parts(&event.into()), without_time_dependent_parts(recorded));
            if decided == recorded { Ok(()) } else { Err(format!("differs from the decision {decided}")) }
        }
    }
}

/// An event as JSON; the deadline becomes a flag, the choice only its backend.
fn without_time_dependent_parts(event: &Event) -> Value {
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

/// Reconstructs the command of a tenancy's event and decides it.
fn check_tenancy_event(user: UserId, state: &Tenancy, event: &TenancyEvent, logged: &Logged) -> Check {
    let recorded = &logged.recorded.envelope.event;
    let now = logged.recorded.envelope.meta.time;
    // What was chosen had the labels that the instance requires.
    let requires = match event {
        TenancyEvent::Requested(requested) => Some(&requested.requires),
        _ => event.instance_id().and_then(|id| state.instance(id)).map(|instance| &instance.requires),
    };
    let only_candidate =
        |choice: &Choice| Candidate::new(choice.backend_id, u32::MAX).labels(requires.cloned().unwrap_or_default());
    let facts = |choice: Option<&Choice>| Facts {
        now,
        policy: Policy::default(),
        candidates: choice.into_iter().map(only_candidate).collect(),
        tie_breaker: 0,
    };
    let Some(instance_id) = event.instance_id() else {
        return match event {
            TenancyEvent::Closed(closed) => same(CloseTenancy { reason: closed.reason }.decide(state), recorded),
            TenancyEvent::Suspended(_) => same(SuspendTenancy.decide(state), recorded),
            TenancyEvent::QuotaSet(set) => same(SetQuota(*set).decide(state), recorded),
            TenancyEvent::Resumed(_) => same(ResumeTenancy.decide(state), recorded),
            _ => Err("names no instance".to_owned()),
        };
    };
    let instance = state.instance(instance_id);
    let (placement, generation) = instance.map_or((0, 0), |instance| (instance.placement, instance.generation));
    // An event after a failure comes from a report, a deadline or the loss of the backend.
    let after = |failure: &PlacementFailure, choice: Option<&Choice>, position: Option<ReportPosition>| {
        let facts = facts(choice);
        let report = |kind| {
            let report = Report { instance_id, user_id: user, placement, generation, kind };
            let position = position.unwrap_or(LATEST);
            HandleReport { backend_id: failure.backend_id, report, position, facts: facts.clone() }.decide(state)
        };
        match &failure.reason {
            FailureReason::Refused(error) => match reported(error) {
                Some(error) => same(report(ReportKind::InstanceRefused(error)), recorded),
                None => Ok(()),
            },
            FailureReason::Failed(error) => match reported(error) {
                Some(error) => same(report(ReportKind::InstanceFailed(error)), recorded),
                None => Ok(()),
            },
            FailureReason::Late => same(HandleDeadline { instance_id, generation, facts }.decide(state), recorded),
            FailureReason::Lost => {
                same(HandleBackendLost { backend_id: failure.backend_id, instance_id, facts }.decide(state), recorded)
            }
            FailureReason::Removed => {
                let backend_id = failure.backend_id;
                same(HandleBackendRemoved { backend_id, instance_id, facts }.decide(state), recorded)
            }
        }
    };
    let change = |to| same(ChangeInstance { instance_id, to, now, policy: Policy::default() }.decide(state), recorded);
    match event {
        TenancyEvent::Requested(_) if instance.is_some() => Err("names an instance that exists already".to_owned()),
        TenancyEvent::Requested(requested) => {
            // An erased user's values are no longer readable.
            let (Some(name), Some(key)) = (requested.name.plain(), requested.ssh_public_key.plain()) else {
                return Ok(());
            };
            let command = RequestInstance {
                instance_id,
                name: Some(name.clone()),
                username: "unknown".parse().map_err(|error| format!("{error}"))?,
                ssh_public_key: key.clone(),
                further_keys: requested.further_keys.iter().filter_map(|key| key.plain().cloned()).collect(),
                image: requested.image.clone(),
                limits: requested.limits,
                restart: requested.restart,
                requires: requested.requires.clone(),
                size: requested.size.clone(),
                on_lost: requested.on_lost,
                lifetime: requested.lifetime,
                idempotency: requested.idempotency.clone(),
                quota: Quota::default(),
                facts: facts(Some(&requested.choice)),
            };
            same(command.decide(state), recorded)
        }
        TenancyEvent::KeysChanged(changed) => {
            let keys = changed.keys.iter().map(|key| key.plain().cloned()).collect::<Option<_>>();
            match keys {
                Some(keys) => same(SetInstanceKeys { instance_id, keys }.decide(state), recorded),
                // An erased user's.
                None => Ok(()),
            }
        }
        TenancyEvent::SettingsChanged(changed) => {
            let (on_lost, expires_at) = (Some(changed.on_lost), Some(changed.lifetime.expires_at));
            let autostop = Some(changed.lifetime.autostop_minutes);
            let name = match &changed.name {
                // An erased user's.
                Some(name) if name.plain().is_none() => return Ok(()),
                name => name.as_ref().and_then(|name| name.plain().cloned()),
            };
            let change = ChangeSettings { instance_id, name, on_lost, expires_at, autostop, now };
            match &changed.by_administrator {
                None => same(change.decide(state), recorded),
                Some(by) if by.reason.as_ref().is_some_and(|reason| reason.plain().is_none()) => Ok(()),
                Some(by) => {
                    let reason = by.reason.as_ref().and_then(|reason| reason.plain().cloned());
                    same(AdministerSettings { change, reason }.decide(state), recorded)
                }
            }
        }
        TenancyEvent::Moved(moved) => {
            let occasion = match moved.reason {
                MoveReason::BackendLost => Occasion::LostSince(Timestamp::from_millis(0)),
                MoveReason::BackendDrained => Occasion::Drain,
            };
            let facts = facts(Some(&moved.choice));
            same(MoveInstance { backend_id: moved.from, instance_id, occasion, facts }.decide(state), recorded)
        }
        TenancyEvent::Placed(placed) => after(&placed.failure, Some(&placed.choice), None),
        TenancyEvent::Failed(failed) => after(&failed.failure, None, failed.report),
        TenancyEvent::Observed(observed) => {
            let Actor::Backend(backend_id) = logged.recorded.envelope.origin.actor else {
                return Err("has an actor that is not a backend".to_owned());
            };
            let observation = observed.observation.valid().ok_or("has an invalid value of an agent")?;
            let kind = ReportKind::InstanceStatus(observation);
            let (placement, generation) = (observed.placement, observed.generation);
            let report = Report { instance_id, user_id: user, placement, generation, kind };
            let command = HandleReport { backend_id, report, position: observed.report, facts: facts(None) };
            same(command.decide(state), recorded)
        }
        TenancyEvent::StopRequested(ChangeRequested { reason: Some(StopReason::BackendDrained), .. }) => {
            let Some(placement) = instance.and_then(|instance| instance.current_placement.as_ref()) else {
                return Err("the instance has no backend".to_owned());
            };
            let backend_id = placement.backend_id;
            let stop = StopForDrain { backend_id, instance_id, now, policy: Policy::default() };
            same(stop.decide(state), recorded)
        }
        TenancyEvent::StopRequested(ChangeRequested { reason: Some(StopReason::GroupEnded), .. }) => {
            let stop = StopForGroup { instance_id, ended_at: now, now, policy: Policy::default() };
            same(stop.decide(state), recorded)
        }
        TenancyEvent::StopRequested(ChangeRequested { reason: Some(StopReason::TimeToLive), .. }) => {
            // No client of this run limits the instances of a group.
            let (group, policy) = (GroupLimits::default(), Policy::default());
            same(EndLifetime { instance_id, group, seen: None, now, policy }.decide(state), recorded)
        }
        TenancyEvent::StopRequested(_) => change(DesiredState::Stopped),
        TenancyEvent::ResumeRequested(_) => change(DesiredState::Running),
        TenancyEvent::DeleteRequested(_) => change(DesiredState::Deleted),
        TenancyEvent::Administered(administered) => {
            let policy = Policy::default();
            let change = ChangeInstance { instance_id, to: administered.wanted, now, policy };
            let reason = administered.reason.as_ref().and_then(|reason| reason.plain().cloned());
            same(AdministerInstance { change, reason }.decide(state), recorded)
        }
        TenancyEvent::Deleted(deleted) => match deleted.outcome {
            DeletionOutcome::Unplaced => change(DesiredState::Deleted),
            DeletionOutcome::Abandoned { backend_id } => {
                let removed = HandleBackendRemoved { backend_id, instance_id, facts: facts(None) };
                same(HandleDeadline { instance_id, generation, facts: facts(None) }.decide(state), recorded)
                    .or_else(|_| same(removed.decide(state), recorded))
            }
            DeletionOutcome::Confirmed { backend_id } => same(
                deletion_report(user, backend_id, (instance_id, placement, generation), facts(None)).decide(state),
                recorded,
            ),
        },
        TenancyEvent::Released(released) => {
            let what = (instance_id, released.placement, generation);
            same(deletion_report(user, released.backend_id, what, facts(None)).decide(state), recorded)
        }
        _ => Err("comes from a command that no client of this run sends".to_owned()),
    }
}

/// Later than every stored report.
const LATEST: ReportPosition = ReportPosition { incarnation: u64::MAX, sequence: u64::MAX };

fn deletion_report(
    user_id: UserId,
    backend_id: BackendId,
    (instance_id, placement, generation): (dockhost_domain::ids::InstanceId, u32, u32),
    facts: Facts,
) -> HandleReport {
    let report = Report { instance_id, user_id, placement, generation, kind: ReportKind::InstanceDeleted };
    HandleReport { backend_id, report, position: LATEST, facts }
}

/// I6 for users, after each event.
fn check_quota(user: UserId, events: &[&Logged], quota: u32, violations: &mut Violations) {
    let mut state = Tenancy::default();
    for logged in events {
        let Event::Tenancy(event) = &logged.recorded.envelope.event else { continue };
        state.evolve(event, &logged.recorded.envelope.meta);
        let count = state.existing().count();
        if matches!(event, TenancyEvent::Requested(_)) && count > quota as usize {
            let what = format!("{count} instances, the quota is {quota}");
            violations.add(Invariant::I6, what, [format!("user {user}")], [logged.sequence()]);
        }
    }
}

/// The error that the agent reported; `None` if its message was erased.
fn reported(error: &RecordedError) -> Option<AgentError> {
    let message = error.message.plain()?;
    Some(AgentError { code: ShortText::cleaned(&error.code), message: ShortText::cleaned(message) })
}
