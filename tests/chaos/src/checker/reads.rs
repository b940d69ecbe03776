//! I13, and the readers' half of I8: what clients were shown against the states that the log went through.
//!
//! In: reads with a position, answers to writes, and each instance's states. Out: answers from before the position,
//! answers that no state ever was, and a reader who was shown a newer state and then an older one.

use std::collections::BTreeMap;

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::tenancy::Instance;
use dockhost_domain::timestamp::Timestamp;
use serde_json::{Value, json};

use super::log::{Life, Log};
use super::{Found, Invariant};
use crate::history::{Kind, Operation, Verdict};

pub(super) fn check(history: &[Operation], log: &Log, found: &mut Found) {
    let times: BTreeMap<u64, Timestamp> =
        log.events.iter().map(|logged| (logged.sequence(), logged.recorded.envelope.meta.time)).collect();
    // What each client was surely shown of each instance.
    let mut shown: BTreeMap<(&str, InstanceId), u64> = BTreeMap::new();
    for operation in history {
        match operation.kind {
            Kind::List if operation.verdict() == Verdict::Done => {
                let list: Vec<&Value> = operation.data().as_array().into_iter().flatten().collect();
                for view in &list {
                    one(operation, view, log, &mut shown, found);
                }
                let ids: Vec<&str> = list.iter().filter_map(|view| view["instanceId"].as_str()).collect();
                if let (Some(user), Some(after)) = (operation.user, operation.position) {
                    left_out(operation, (user, after), &ids, log, &times, found);
                }
            }
            Kind::Look if operation.verdict() == Verdict::Done => {
                one(operation, operation.data(), log, &mut shown, found);
            }
            Kind::Look if operation.status() == Some(404) => {
                let id = operation.instance.as_deref().and_then(|id| id.parse().ok());
                if let (Some(id), Some(after)) = (id, operation.position)
                    && let Some(life) = log.instance(id)
                    && operation.user == Some(life.user)
                {
                    absent(operation, (id, after), life, &times, found);
                }
            }
            Kind::Create | Kind::Stop | Kind::Resume | Kind::Delete if operation.code().is_empty() => {
                written(operation, log, found);
            }
            _ => {}
        }
    }
}

/// Whether a view shows this state; its machine may have been heard or not.
fn shows(view: &Value, state: &Instance) -> bool {
    let status = |heard| json!(state.status_on(heard));
    let container = state.last_observation().map(|seen| &seen.observation.container_id);
    let backend = state.current_placement.as_ref().map(|current| current.backend_id);
    (view["status"] == status(true) || view["status"] == status(false))
        && view["generation"] == json!(state.generation)
        && view["containerId"] == json!(container)
        && view["backendId"] == json!(backend)
        && view["createdAt"] == json!(state.created_at)
        && view["lastActivity"] == json!(state.last_activity)
}

/// One instance that a read showed.
fn one<'a>(
    operation: &'a Operation,
    view: &Value,
    log: &Log,
    shown: &mut BTreeMap<(&'a str, InstanceId), u64>,
    found: &mut Found,
) {
    let id: Option<InstanceId> = view["instanceId"].as_str().and_then(|id| id.parse().ok());
    let life = id.and_then(|id| log.instance(id));
    let (Some(id), Some(life)) = (id, life) else {
        found.add(Invariant::I13, "a read showed an instance that no event speaks of", [operation], []);
        return;
    };
    if operation.user != Some(life.user) {
        found.add(Invariant::I13, format!("a read showed another user's instance {id}"), [operation], []);
    }
    let seen: Vec<(u64, u64)> = spans(life).filter(|(_, state)| shows(view, state)).map(|(span, _)| span).collect();
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        let what = format!("a read showed instance {id} as it never was: {view}");
        found.add(Invariant::I13, what, [operation], []);
        return;
    };
    let Some(after) = operation.position else { return };
    if last.1 <= after {
        let what = format!("a read after {after} showed instance {id} as it was before {}", last.1);
        found.add(Invariant::I13, what, [operation], [last.0, last.1, after]);
    }
    let before = shown.entry((&operation.client, id)).or_default();
    if last.1 <= *before {
        let what = format!("instance {id} went back: it was shown at {before}, and then as before {}", last.1);
        found.add(Invariant::I8, what, [operation], [*before, last.1]);
    }
    *before = (*before).max(first.0);
}

/// Each state with where it began and where the next one did.
fn spans(life: &Life) -> impl Iterator<Item = ((u64, u64), &Instance)> {
    let ends = life.states.iter().skip(1).map(|(begun, _)| *begun).chain([u64::MAX]);
    life.states.iter().zip(ends).map(|((begun, state), end)| ((*begun, end), state))
}

fn left_out(
    operation: &Operation,
    (user, after): (UserId, u64),
    ids: &[&str],
    log: &Log,
    times: &BTreeMap<u64, Timestamp>,
    found: &mut Found,
) {
    for (id, life) in log.instances().iter().filter(|(_, life)| life.user == user) {
        if !ids.contains(&id.to_string().as_str()) {
            absent(operation, (*id, after), life, times, found);
        }
    }
}

/// An instance that a read with a position did not show: it was deleted by the time of the answer, or did not exist.
fn absent(
    operation: &Operation,
    (id, after): (InstanceId, u64),
    life: &Life,
    times: &BTreeMap<u64, Timestamp>,
    found: &mut Found,
) {
    if life.at(after).is_none_or(Instance::is_deleted) {
        return;
    }
    let deleted = life.states.iter().find(|(_, state)| state.is_deleted()).map(|(begun, _)| *begun);
    let in_time = deleted.and_then(|sequence| times.get(&sequence)).is_some_and(|time| *time <= operation.ended.at);
    if !in_time {
        let what = format!("a read after {after} left out instance {id}, which existed");
        found.add(Invariant::I13, what, [operation], deleted.into_iter().chain([after]));
    }
}

/// A write's answer shows the state at its position, or one that came after.
fn written(operation: &Operation, log: &Log, found: &mut Found) {
    let Some(position) = operation.answered_at() else { return };
    let view = operation.data();
    let id: Option<InstanceId> = view["instanceId"].as_str().and_then(|id| id.parse().ok());
    let Some(life) = id.and_then(|id| log.instance(id)) else { return };
    if !spans(life).any(|((_, end), state)| end > position && shows(view, state)) {
        let what = format!("a write's answer at {position} shows what no state from there on was: {view}");
        found.add(Invariant::I13, what, [operation], [position]);
    }
}
