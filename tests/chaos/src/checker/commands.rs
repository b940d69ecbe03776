//! I1 and I2: the outcome of each command against its events in the log.

use std::collections::BTreeMap;

use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_domain::wire::DesiredState;

use super::log::{Log, Logged};
use super::{Invariant, Violations};
use crate::history::{Kind, Operation, OutcomeClass};

const SESSION_STARTED: &str = "dockhost.session.started.v1";
const SESSION_REVOKED: &str = "dockhost.session.revoked.v1";
const ACCOUNT_CREATED: &str = "dockhost.account.created.v1";
const CLAIM_TAKEN: &str = "dockhost.claim.taken.v1";
const REQUESTED: &str = "dockhost.instance.requested.v1";
const STOP: &str = "dockhost.instance.stop-requested.v1";
const RESUME: &str = "dockhost.instance.resume-requested.v1";
const DELETE: &str = "dockhost.instance.delete-requested.v1";
const DELETED: &str = "dockhost.instance.deleted.v1";
const DRAIN_STARTED: &str = "dockhost.backend.drain-started.v1";
const DRAIN_CANCELLED: &str = "dockhost.backend.drain-cancelled.v1";

pub(super) fn check(history: &[Operation], log: &Log, violations: &mut Violations) {
    for operation in history {
        let own: Vec<&Logged> = log.caused_by(&operation.request).collect();
        if operation.code() == "internal_error" {
            violations.add(Invariant::I2, "a request failed with internal_error", [operation], []);
        }
        if operation.kind.is_read() {
            if !own.is_empty() {
                violations.add(Invariant::I2, "a read stored events", [operation], sequences(&own));
            }
            continue;
        }
        match operation.class() {
            OutcomeClass::Refused if !own.is_empty() => {
                violations.add(Invariant::I2, "a refused command stored events", [operation], sequences(&own));
            }
            OutcomeClass::Refused => {}
            OutcomeClass::Unknown => {
                if let Err(what) = check_complete_or_absent(operation.kind, &own, log) {
                    let what = format!("a command with unknown outcome: {what}");
                    violations.add(Invariant::I2, what, [operation], sequences(&own));
                }
            }
            OutcomeClass::Done => {
                if let Err(what) = check_acknowledged(operation, &own, log) {
                    violations.add(Invariant::I1, what, [operation], sequences(&own));
                }
            }
        }
    }
    check_idempotency_keys(history, log, violations);
    check_unique_instances(log, violations);
}

fn sequences(events: &[&Logged]) -> Vec<u64> {
    events.iter().map(|logged| logged.sequence()).collect()
}

/// Whether these are all events of a command of this kind, or none.
fn check_complete_or_absent(kind: Kind, own: &[&Logged], log: &Log) -> Result<(), String> {
    let kinds: Vec<&str> = own.iter().map(|logged| logged.kind.as_str()).collect();
    let at_most_one_of = |allowed: &[&str]| kinds.is_empty() || (kinds.len() == 1 && allowed.contains(&kinds[0]));
    let is_valid = match kind {
        Kind::SignUp if kinds.len() == 1 => kinds == [SESSION_STARTED] && has_account(own[0], log),
        Kind::SignUp => kinds.is_empty() || is_sign_up(own),
        Kind::SignIn => at_most_one_of(&[SESSION_STARTED]),
        Kind::SignOut => at_most_one_of(&[SESSION_REVOKED]),
        Kind::Create => at_most_one_of(&[REQUESTED]),
        Kind::Stop => at_most_one_of(&[STOP]),
        Kind::Resume => at_most_one_of(&[RESUME]),
        Kind::Delete => at_most_one_of(&[DELETE, DELETED]),
        Kind::Drain => at_most_one_of(&[DRAIN_STARTED]),
        Kind::Undrain => at_most_one_of(&[DRAIN_CANCELLED]),
        Kind::List | Kind::Get | Kind::Health => kinds.is_empty(),
    };
    if is_valid { Ok(()) } else { Err(format!("its events are neither complete nor absent: {kinds:?}")) }
}

/// Whether these are two claims, the account and its first session, at consecutive sequences.
fn is_sign_up(own: &[&Logged]) -> bool {
    let mut kinds: Vec<&str> = own.iter().map(|logged| logged.kind.as_str()).collect();
    kinds.sort_unstable();
    let mut all = [ACCOUNT_CREATED, CLAIM_TAKEN, CLAIM_TAKEN, SESSION_STARTED];
    all.sort_unstable();
    kinds == all && own.windows(2).all(|pair| pair[1].sequence() == pair[0].sequence() + 1)
}

/// Whether the session's account was created before it.
fn has_account(session: &Logged, log: &Log) -> bool {
    let AggregateId::Session(principal) = session.recorded.envelope.aggregate else { return false };
    let account = AggregateId::Account(UserId::from_uuid(principal.uuid()));
    log.of(account).any(|logged| logged.kind == ACCOUNT_CREATED && logged.sequence() < session.sequence())
}

fn check_acknowledged(operation: &Operation, own: &[&Logged], log: &Log) -> Result<(), String> {
    check_complete_or_absent(operation.kind, own, log).map_err(|what| format!("an acknowledged command: {what}"))?;
    if operation.response_position().is_some_and(|position| own.iter().any(|logged| logged.sequence() > position)) {
        return Err("the response's position is before the command's own event".to_owned());
    }
    match operation.kind {
        Kind::SignUp | Kind::SignIn if own.is_empty() => Err("an acknowledged session is not in the log".to_owned()),
        Kind::SignUp => {
            let user: UserId = parsed(&operation.data()["user"]["id"])?;
            let accounts = log.of(AggregateId::Account(user)).filter(|logged| logged.kind == ACCOUNT_CREATED).count();
            if accounts == 1 { Ok(()) } else { Err(format!("an acknowledged account is in the log {accounts} times")) }
        }
        Kind::Create => check_create(operation, own, log),
        Kind::Stop => check_change(operation, own, log, DesiredState::Stopped),
        Kind::Resume => check_change(operation, own, log, DesiredState::Running),
        Kind::Delete => check_change(operation, own, log, DesiredState::Deleted),
        // A sign-out of an ended session stores nothing, nor does a drain that is under way. The replay checks the rest.
        Kind::SignIn | Kind::SignOut | Kind::Drain | Kind::Undrain | Kind::List | Kind::Get | Kind::Health => Ok(()),
    }
}

fn parsed<T: std::str::FromStr>(value: &serde_json::Value) -> Result<T, String> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the response has {value} instead of an id"))
}

fn check_create(operation: &Operation, own: &[&Logged], log: &Log) -> Result<(), String> {
    let id: InstanceId = parsed(&operation.data()["instanceId"])?;
    let Some(timeline) = log.instance(id) else {
        return Err(format!("the acknowledged instance {id} is not in the log"));
    };
    if operation.user.is_some_and(|user| user != timeline.user) {
        return Err(format!("the acknowledged instance {id} is another user's"));
    }
    match (own, &operation.key) {
        ([event], _) if requested_id(event) != Some(id) => {
            Err(format!("the response names {id}, the event another instance"))
        }
        ([], None) => Err(format!("the acknowledged request of instance {id} is not in the log")),
        _ => Ok(()),
    }
}

fn requested_id(logged: &Logged) -> Option<InstanceId> {
    match &logged.recorded.envelope.event {
        Event::Tenancy(TenancyEvent::Requested(requested)) => Some(requested.instance_id),
        _ => None,
    }
}

/// If a change stored no event, the instance already had the desired state.
fn check_change(operation: &Operation, own: &[&Logged], log: &Log, to: DesiredState) -> Result<(), String> {
    let id: InstanceId = parsed(&operation.data()["instanceId"])?;
    let Some(timeline) = log.instance(id) else { return Err(format!("the instance {id} is not in the log")) };
    if let [event] = own {
        let about = match &event.recorded.envelope.event {
            Event::Tenancy(event) => event.instance_id(),
            _ => None,
        };
        return if about == Some(id) {
            Ok(())
        } else {
            Err(format!("the response names {id}, the event another instance"))
        };
    }
    // The instance must have had the desired state before the response.
    let until = operation.response_position().unwrap_or_else(|| log.end());
    let was_desired =
        timeline.states.iter().take_while(|(begun, _)| *begun <= until).any(|(_, state)| state.desired == to);
    if was_desired {
        Ok(())
    } else {
        Err(format!("instance {id} was never desired {to:?}, and the command stored no event"))
    }
}

/// One `Idempotency-Key` creates one account or instance.
fn check_idempotency_keys(history: &[Operation], log: &Log, violations: &mut Violations) {
    let mut created: BTreeMap<(Option<UserId>, &str, &str), &Operation> = BTreeMap::new();
    for operation in history.iter().filter(|operation| operation.class() == OutcomeClass::Done) {
        let Some(key) = &operation.key else { continue };
        let (which, id) = match operation.kind {
            Kind::Create => ("create", &operation.data()["instanceId"]),
            Kind::SignUp => ("signup", &operation.data()["user"]["id"]),
            _ => continue,
        };
        let first = created.entry((operation.user, which, key)).or_insert(operation);
        let before = if which == "create" { &first.data()["instanceId"] } else { &first.data()["user"]["id"] };
        if before != id {
            let what = format!("one Idempotency-Key created {before} and {id}");
            violations.add(Invariant::I1, what, [*first, operation], []);
        }
    }
    let mut used: BTreeMap<(AggregateId, String), u64> = BTreeMap::new();
    for logged in &log.events {
        let Event::Tenancy(TenancyEvent::Requested(requested)) = &logged.recorded.envelope.event else { continue };
        let Some(idempotency) = &requested.idempotency else { continue };
        let slot = (logged.recorded.envelope.aggregate, idempotency.key.clone());
        if let Some(first) = used.insert(slot, logged.sequence()) {
            let what = "one Idempotency-Key was used for two instances";
            violations.add(Invariant::I1, what, [requested.instance_id], [first, logged.sequence()]);
        }
    }
}

/// An instance is requested only once.
fn check_unique_instances(log: &Log, violations: &mut Violations) {
    let mut requested: BTreeMap<InstanceId, u64> = BTreeMap::new();
    for logged in &log.events {
        if let Some(id) = requested_id(logged)
            && let Some(first) = requested.insert(id, logged.sequence())
        {
            violations.add(Invariant::I1, "one instance was requested twice", [id], [first, logged.sequence()]);
        }
    }
}
