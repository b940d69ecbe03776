//! I1 and I2: what clients were told against what is in the log.
//!
//! In: the history, and the events with the request that each came of. Out: acknowledged commands whose events are not
//! there or there twice, refused ones that left some, and unknown ones that left a part.

use std::collections::BTreeMap;

use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_domain::wire::DesiredState;

use super::log::{Log, Logged};
use super::{Found, Invariant};
use crate::history::{Kind, Operation, Verdict};

const SESSION_STARTED: &str = "dockhost.session.started.v1";
const SESSION_REVOKED: &str = "dockhost.session.revoked.v1";
const ACCOUNT_CREATED: &str = "dockhost.account.created.v1";
const CLAIM_TAKEN: &str = "dockhost.claim.taken.v1";
const REQUESTED: &str = "dockhost.instance.requested.v1";
const STOP: &str = "dockhost.instance.stop-requested.v1";
const RESUME: &str = "dockhost.instance.resume-requested.v1";
const DELETE: &str = "dockhost.instance.delete-requested.v1";
const DELETED: &str = "dockhost.instance.deleted.v1";

pub(super) fn check(history: &[Operation], log: &Log, found: &mut Found) {
    for operation in history {
        let own: Vec<&Logged> = log.caused_by(&operation.request).collect();
        if operation.code() == "internal_error" {
            found.add(Invariant::I2, "a request failed through a fault of ours", [operation], []);
        }
        if operation.kind.is_read() {
            if !own.is_empty() {
                found.add(Invariant::I2, "a read left events", [operation], sequences(&own));
            }
            continue;
        }
        match operation.verdict() {
            Verdict::Failed if !own.is_empty() => {
                found.add(Invariant::I2, "a refused command left events", [operation], sequences(&own));
            }
            Verdict::Failed => {}
            Verdict::Unknown => {
                if let Err(what) = whole(operation.kind, &own, log) {
                    let what = format!("of an unknown command {what}");
                    found.add(Invariant::I2, what, [operation], sequences(&own));
                }
            }
            Verdict::Done => {
                if let Err(what) = acknowledged(operation, &own, log) {
                    found.add(Invariant::I1, what, [operation], sequences(&own));
                }
            }
        }
    }
    keys(history, log, found);
    births(log, found);
}

fn sequences(events: &[&Logged]) -> Vec<u64> {
    events.iter().map(|logged| logged.sequence()).collect()
}

/// Whether these are all events that a command of this kind leaves, or none.
fn whole(kind: Kind, own: &[&Logged], log: &Log) -> Result<(), String> {
    let kinds: Vec<&str> = own.iter().map(|logged| logged.kind.as_str()).collect();
    let fits = |may: &[&str]| kinds.is_empty() || (kinds.len() == 1 && may.contains(&kinds[0]));
    let good = match kind {
        Kind::SignUp if kinds.len() == 1 => kinds == [SESSION_STARTED] && has_account(own[0], log),
        Kind::SignUp => kinds.is_empty() || is_sign_up(own),
        Kind::SignIn => fits(&[SESSION_STARTED]),
        Kind::SignOut => fits(&[SESSION_REVOKED]),
        Kind::Create => fits(&[REQUESTED]),
        Kind::Stop => fits(&[STOP]),
        Kind::Resume => fits(&[RESUME]),
        Kind::Delete => fits(&[DELETE, DELETED]),
        Kind::List | Kind::Look | Kind::Health => kinds.is_empty(),
    };
    if good { Ok(()) } else { Err(format!("there is neither all nor nothing: {kinds:?}")) }
}

/// Two names, the account and its first session, at consecutive sequences.
fn is_sign_up(own: &[&Logged]) -> bool {
    let mut kinds: Vec<&str> = own.iter().map(|logged| logged.kind.as_str()).collect();
    kinds.sort_unstable();
    let mut all = [ACCOUNT_CREATED, CLAIM_TAKEN, CLAIM_TAKEN, SESSION_STARTED];
    all.sort_unstable();
    kinds == all && own.windows(2).all(|pair| pair[1].sequence() == pair[0].sequence() + 1)
}

/// Whether the person whose session this is signed up before.
fn has_account(session: &Logged, log: &Log) -> bool {
    let AggregateId::Session(principal) = session.recorded.envelope.aggregate else { return false };
    let account = AggregateId::Account(UserId::from_uuid(principal.uuid()));
    log.of(account).any(|logged| logged.kind == ACCOUNT_CREATED && logged.sequence() < session.sequence())
}

fn acknowledged(operation: &Operation, own: &[&Logged], log: &Log) -> Result<(), String> {
    whole(operation.kind, own, log).map_err(|what| format!("of an acknowledged command {what}"))?;
    if operation.answered_at().is_some_and(|position| own.iter().any(|logged| logged.sequence() > position)) {
        return Err("the answer's position is before the command's own event".to_owned());
    }
    match operation.kind {
        Kind::SignUp | Kind::SignIn if own.is_empty() => Err("an acknowledged session is not in the log".to_owned()),
        Kind::SignUp => {
            let user: UserId = parsed(&operation.data()["user"]["id"])?;
            let accounts = log.of(AggregateId::Account(user)).filter(|logged| logged.kind == ACCOUNT_CREATED).count();
            if accounts == 1 { Ok(()) } else { Err(format!("an acknowledged account is in the log {accounts} times")) }
        }
        Kind::Create => created(operation, own, log),
        Kind::Stop => changed(operation, own, log, DesiredState::Stopped),
        Kind::Resume => changed(operation, own, log, DesiredState::Running),
        Kind::Delete => changed(operation, own, log, DesiredState::Deleted),
        // Nothing to be ended is an end too; that it is ended, the sessions' replay shows.
        Kind::SignIn | Kind::SignOut | Kind::List | Kind::Look | Kind::Health => Ok(()),
    }
}

fn parsed<T: std::str::FromStr>(value: &serde_json::Value) -> Result<T, String> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the answer has {value} where an id belongs"))
}

fn created(operation: &Operation, own: &[&Logged], log: &Log) -> Result<(), String> {
    let id: InstanceId = parsed(&operation.data()["instanceId"])?;
    let Some(life) = log.instance(id) else { return Err(format!("the acknowledged instance {id} is not in the log")) };
    if operation.user.is_some_and(|user| user != life.user) {
        return Err(format!("the acknowledged instance {id} is another user's"));
    }
    match (own, &operation.key) {
        ([event], _) if requested_id(event) != Some(id) => Err(format!("the answer names {id}, the event another one")),
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

/// A change that left no event found the instance as asked, or on its way there.
fn changed(operation: &Operation, own: &[&Logged], log: &Log, to: DesiredState) -> Result<(), String> {
    let id: InstanceId = parsed(&operation.data()["instanceId"])?;
    let Some(life) = log.instance(id) else { return Err(format!("the instance {id} is not in the log")) };
    if let [event] = own {
        let about = match &event.recorded.envelope.event {
            Event::Tenancy(event) => event.instance_id(),
            _ => None,
        };
        return if about == Some(id) { Ok(()) } else { Err(format!("the answer names {id}, the event another one")) };
    }
    // Somewhere between the sending and the answer the state must have been as asked.
    let until = operation.answered_at().unwrap_or_else(|| log.end());
    let as_asked = life.states.iter().take_while(|(begun, _)| *begun <= until).any(|(_, state)| state.desired == to);
    if as_asked { Ok(()) } else { Err(format!("instance {id} was never wanted {to:?}, and no event says so")) }
}

/// One `Idempotency-Key` makes one thing.
fn keys(history: &[Operation], log: &Log, found: &mut Found) {
    let mut made: BTreeMap<(Option<UserId>, &str, &str), &Operation> = BTreeMap::new();
    for operation in history.iter().filter(|operation| operation.verdict() == Verdict::Done) {
        let Some(key) = &operation.key else { continue };
        let (which, thing) = match operation.kind {
            Kind::Create => ("create", &operation.data()["instanceId"]),
            Kind::SignUp => ("signup", &operation.data()["user"]["id"]),
            _ => continue,
        };
        let first = made.entry((operation.user, which, key)).or_insert(operation);
        let before = if which == "create" { &first.data()["instanceId"] } else { &first.data()["user"]["id"] };
        if before != thing {
            let what = format!("one Idempotency-Key made {before} and {thing}");
            found.add(Invariant::I1, what, [*first, operation], []);
        }
    }
    let mut used: BTreeMap<(AggregateId, String), u64> = BTreeMap::new();
    for logged in &log.events {
        let Event::Tenancy(TenancyEvent::Requested(requested)) = &logged.recorded.envelope.event else { continue };
        let Some(idempotency) = &requested.idempotency else { continue };
        let slot = (logged.recorded.envelope.aggregate, idempotency.key.clone());
        if let Some(first) = used.insert(slot, logged.sequence()) {
            let what = "one Idempotency-Key was used for two instances";
            found.add(Invariant::I1, what, [requested.instance_id], [first, logged.sequence()]);
        }
    }
}

/// Nothing is made twice.
fn births(log: &Log, found: &mut Found) {
    let mut born: BTreeMap<InstanceId, u64> = BTreeMap::new();
    for logged in &log.events {
        if let Some(id) = requested_id(logged)
            && let Some(first) = born.insert(id, logged.sequence())
        {
            found.add(Invariant::I1, "one instance was requested twice", [id], [first, logged.sequence()]);
        }
    }
}
