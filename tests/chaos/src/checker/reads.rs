//! I13, and I8 for readers: responses against the states of the log.
//!
//! Finds reads that are older than their position, states that never existed, and readers that saw a newer state and then an
//! older one.

use std::collections::BTreeMap;

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::tenancy::Instance;
use serde_json::{Value, json};

use super::log::{Log, Timeline};
use super::order::Order;
use super::{Invariant, Violations};
use crate::history::{Kind, Operation, OutcomeClass};

pub(super) fn check(history: &[Operation], log: &Log, order: &Order, violations: &mut Violations) {
    // The lowest sequence that each client must have seen of each instance.
    let mut last_seen: BTreeMap<(&str, InstanceId), u64> = BTreeMap::new();
    for operation in history {
        match operation.kind {
            Kind::List if operation.class() == OutcomeClass::Done => {
                let list: Vec<&Value> = operation.data().as_array().into_iter().flatten().collect();
                for view in &list {
                    check_view(operation, view, log, &mut last_seen, violations);
                }
                let ids: Vec<&str> = list.iter().filter_map(|view| view["instanceId"].as_str()).collect();
                if let (Some(user), Some(after)) = (operation.user, operation.position) {
                    check_omitted(operation, (user, after), &ids, log, order, violations);
                }
            }
            Kind::Get if operation.class() == OutcomeClass::Done => {
                check_view(operation, operation.data(), log, &mut last_seen, violations);
            }
            Kind::Get if operation.status() == Some(404) => {
                let id = operation.instance.as_deref().and_then(|id| id.parse().ok());
                if let (Some(id), Some(after)) = (id, operation.position)
                    && let Some(timeline) = log.instance(id)
                    && operation.user == Some(timeline.user)
                {
                    check_absence(operation, (id, after), timeline, order, violations);
                }
            }
            Kind::Create | Kind::Stop | Kind::Resume | Kind::Delete if operation.code().is_empty() => {
                check_write_response(operation, log, violations);
            }
            _ => {}
        }
    }
}

/// Whether a view shows this state, with its backend connected or not.
fn shows(view: &Value, state: &Instance) -> bool {
    let status = |connected| json!(state.status_on(connected));
    let container = state.last_observation().map(|seen| &seen.observation.container_id);
    let backend = state.current_placement.as_ref().map(|current| current.backend_id);
    (view["status"] == status(true) || view["status"] == status(false))
        && view["generation"] == json!(state.generation)
        && view["containerId"] == json!(container)
        && view["backendId"] == json!(backend)
        && view["createdAt"] == json!(state.created_at)
        && view["lastActivity"] == json!(state.last_activity)
}

/// Checks one instance in a response.
fn check_view<'a>(
    operation: &'a Operation,
    view: &Value,
    log: &Log,
    last_seen: &mut BTreeMap<(&'a str, InstanceId), u64>,
    violations: &mut Violations,
) {
    let id: Option<InstanceId> = view["instanceId"].as_str().and_then(|id| id.parse().ok());
    let timeline = id.and_then(|id| log.instance(id));
    let (Some(id), Some(timeline)) = (id, timeline) else {
        violations.add(Invariant::I13, "a read returned an instance that is not in the log", [operation], []);
        return;
    };
    if operation.user != Some(timeline.user) {
        violations.add(Invariant::I13, format!("a read returned another user's instance {id}"), [operation], []);
    }
    let seen: Vec<(u64, u64)> =
        intervals(timeline).filter(|(_, state)| shows(view, state)).map(|(interval, _)| interval).collect();
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        let what = format!("a read returned instance {id} in a state that it never had: {view}");
        violations.add(Invariant::I13, what, [operation], []);
        return;
    };
    let Some(after) = operation.position else { return };
    if last.1 <= after {
        let what = format!("a read at position {after} returned instance {id} in a state from before {}", last.1);
        violations.add(Invariant::I13, what, [operation], [last.0, last.1, after]);
    }
    let before = last_seen.entry((&operation.client, id)).or_default();
    if last.1 <= *before {
        let what =
            format!("instance {id} went back: the client read it at {before}, then in a state from before {}", last.1);
        violations.add(Invariant::I8, what, [operation], [*before, last.1]);
    }
    *before = (*before).max(first.0);
}

/// Each state with its first sequence and the first sequence of the next state.
fn intervals(timeline: &Timeline) -> impl Iterator<Item = ((u64, u64), &Instance)> {
    let ends = timeline.states.iter().skip(1).map(|(begun, _)| *begun).chain([u64::MAX]);
    timeline.states.iter().zip(ends).map(|((begun, state), end)| ((*begun, end), state))
}

/// Checks the instances that a list with a position omits.
fn check_omitted(
    operation: &Operation,
    (user, after): (UserId, u64),
    ids: &[&str],
    log: &Log,
    order: &Order,
    violations: &mut Violations,
) {
    for (id, timeline) in log.instances().iter().filter(|(_, timeline)| timeline.user == user) {
        if !ids.contains(&id.to_string().as_str()) {
            check_absence(operation, (*id, after), timeline, order, violations);
        }
    }
}

/// An instance that a read with a position omits must be deleted by the time of the response, or not exist.
fn check_absence(
    operation: &Operation,
    (id, after): (InstanceId, u64),
    timeline: &Timeline,
    order: &Order,
    violations: &mut Violations,
) {
    if timeline.at(after).is_none_or(Instance::is_deleted) {
        return;
    }
    let deleted = timeline.states.iter().find(|(_, state)| state.is_deleted()).map(|(begun, _)| *begun);
    // Not by the event's time, because a replica's clock may be wrong.
    if deleted.is_none_or(|sequence| sequence > order.possible_at(operation.ended.ms)) {
        let what = format!("a read at position {after} omitted instance {id}, which existed");
        violations.add(Invariant::I13, what, [operation], deleted.into_iter().chain([after]));
    }
}

/// The response to a write shows the state at its position or a later one.
fn check_write_response(operation: &Operation, log: &Log, violations: &mut Violations) {
    let Some(position) = operation.response_position() else { return };
    let view = operation.data();
    let id: Option<InstanceId> = view["instanceId"].as_str().and_then(|id| id.parse().ok());
    let Some(timeline) = id.and_then(|id| log.instance(id)) else { return };
    if !intervals(timeline).any(|((_, end), state)| end > position && shows(view, state)) {
        let what = format!(
            "the response to a write at {position} shows a state that the instance did not have from there on: {view}"
        );
        violations.add(Invariant::I13, what, [operation], [position]);
    }
}
