//! I17: every command took effect, or was decided, at one moment between its start and its response.
//!
//! The log gives the order of the commands with an event, so no search is needed. A command's event must come after every
//! event that was known when the command was sent. A verdict without an event (nothing to do, refused) must follow from a
//! state that the log had between the request and the response; it takes the earliest such state, and what it saw is known
//! from its response on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use dockhost_domain::event::Event;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::tenancy::{Instance, Progress};
use dockhost_domain::wire::DesiredState;

use super::log::{Log, Logged};
use super::order::{Order, made_known};
use super::{Invariant, Violations};
use crate::history::{Kind, Operation, OutcomeClass};

pub(super) fn check(history: &[Operation], log: &Log, order: &Order, violations: &mut Violations) {
    let facts = Facts::of(log);
    let mut by_start: Vec<&Operation> = history.iter().filter(|operation| !operation.kind.is_read()).collect();
    by_start.sort_by_key(|operation| operation.begun.ms);
    // Ended requests that no later request has overtaken yet, with what they make known.
    let mut ended: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut known = 0;
    for operation in by_start {
        while let Some(Reverse((end, sequence))) = ended.peek().copied()
            && end < operation.begun.ms
        {
            known = known.max(sequence);
            ended.pop();
        }
        let window = Window { from: known, to: order.possible_at(operation.ended.ms).max(known) };
        let mut seen = made_known(operation, log);
        let own: Vec<u64> = log.caused_by(&operation.request).map(Logged::sequence).collect();
        if own.is_empty() {
            if let Some(verdict) = facts.verdict(operation) {
                match verdict.earliest(window) {
                    Some(sequence) => seen = seen.max(sequence),
                    None => {
                        let what = format!("the verdict {} was never true while it was asked", verdict.what);
                        violations.add(Invariant::I17, what, [operation], [window.from, window.to]);
                    }
                }
            }
        } else {
            check_place(operation, &own, window, violations);
        }
        ended.push(Reverse((operation.ended.ms, seen)));
    }
}

/// The log's end was at or after `from` when the request was sent, and at or before `to` when the response came.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: u64,
    to: u64,
}

/// The events of a command are after everything known before it, and before everything that was sent after its response.
fn check_place(operation: &Operation, own: &[u64], window: Window, violations: &mut Violations) {
    if own.iter().any(|sequence| *sequence <= window.from) {
        let what = "the event of a command comes before an event that was known when the command was sent";
        violations.add(Invariant::I17, what, [operation], own.iter().copied().chain([window.from]));
    }
    if operation.class() == OutcomeClass::Done && own.iter().any(|sequence| *sequence > window.to) {
        let what = "the event of an acknowledged command comes after one of a command that was sent later";
        violations.add(Invariant::I17, what, [operation], own.iter().copied().chain([window.to]));
    }
}

/// When a verdict without an event was true.
struct Verdict {
    what: String,
    /// Intervals of sequences, the end excluded, ascending.
    held: Vec<(u64, u64)>,
}

impl Verdict {
    fn earliest(&self, window: Window) -> Option<u64> {
        let first = |(from, to): &(u64, u64)| Some((*from).max(window.from)).filter(|at| at < to && *at <= window.to);
        self.held.iter().find_map(first)
    }
}

/// What the log tells about verdicts.
struct Facts<'a> {
    log: &'a Log,
    /// Since when a username or an address is taken, in lower case.
    names: BTreeMap<(&'static str, String), u64>,
    /// How many instances a user has from each sequence on.
    counts: BTreeMap<UserId, Vec<(u64, usize)>>,
}

impl<'a> Facts<'a> {
    fn of(log: &'a Log) -> Self {
        let mut names = BTreeMap::new();
        for logged in &log.events {
            if !matches!(logged.recorded.envelope.event, Event::Account(_)) {
                continue;
            }
            for kind in ["username", "email"] {
                if let Some(name) = logged.data[kind]["$personal"].as_str() {
                    names.entry((kind, name.trim().to_lowercase())).or_insert(logged.sequence());
                }
            }
        }
        let mut changes: BTreeMap<UserId, Vec<(u64, bool)>> = BTreeMap::new();
        for timeline in log.instances().values() {
            let of_user = changes.entry(timeline.user).or_default();
            of_user.extend(timeline.states.first().map(|(sequence, _)| (*sequence, true)));
            let deleted = timeline.states.iter().find(|(_, state)| state.is_deleted());
            of_user.extend(deleted.map(|(sequence, _)| (*sequence, false)));
        }
        let count = |mut changes: Vec<(u64, bool)>| {
            changes.sort_unstable();
            let mut count = 0;
            let mut counts = vec![(0, 0)];
            for (sequence, created) in changes {
                count = if created { count + 1 } else { count - 1 };
                counts.push((sequence, count));
            }
            counts
        };
        let counts = changes.into_iter().map(|(user, changes)| (user, count(changes))).collect();
        Self { log, names, counts }
    }

    /// The verdict of a response without an event, if the log can explain it.
    fn verdict(&self, operation: &Operation) -> Option<Verdict> {
        let done = operation.class() == OutcomeClass::Done;
        let what = if done { "nothing to do".to_owned() } else { operation.code().to_owned() };
        let held = match operation.kind {
            Kind::Stop | Kind::Resume | Kind::Delete => self.change(operation, done)?,
            Kind::Create if done => {
                let id: InstanceId = operation.data()["instanceId"].as_str()?.parse().ok()?;
                let first = self.log.instance(id).and_then(|timeline| timeline.states.first());
                first.map(|(sequence, _)| (*sequence, u64::MAX)).into_iter().collect()
            }
            Kind::Create if operation.code() == "quota_exceeded" => {
                let limit = usize::try_from(operation.data()["limit"].as_u64()?).ok()?;
                let none = vec![(0, 0)];
                intervals(self.counts.get(&operation.user?).unwrap_or(&none), |count| *count >= limit)
            }
            Kind::Create if operation.code() == "name_taken" => self.name_taken(operation)?,
            Kind::SignUp => {
                let kind = match operation.code() {
                    "username_taken" => "username",
                    "email_taken" => "email",
                    _ => return None,
                };
                let since = self.taken(kind, operation.sent[kind].as_str()?);
                since.map(|since| (since, u64::MAX)).into_iter().collect()
            }
            Kind::SignIn if operation.code() == "invalid_credentials" => {
                // All clients have the same password, so the account must be missing.
                vec![(0, self.taken("username", operation.sent["username"].as_str()?).unwrap_or(u64::MAX))]
            }
            _ => return None,
        };
        Some(Verdict { what, held })
    }

    fn taken(&self, kind: &'static str, name: &str) -> Option<u64> {
        self.names.get(&(kind, name.trim().to_lowercase())).copied()
    }

    fn change(&self, operation: &Operation, done: bool) -> Option<Vec<(u64, u64)>> {
        let id: InstanceId = operation.instance.as_deref()?.parse().ok()?;
        let to = match operation.kind {
            Kind::Stop => DesiredState::Stopped,
            Kind::Resume => DesiredState::Running,
            _ => DesiredState::Deleted,
        };
        let code = operation.code();
        if !done && !["not_found", "instance_deleting", "instance_failed"].contains(&code) {
            return None;
        }
        let holds = |state: &Option<&Instance>| match (state, code) {
            (None, code) => code == "not_found",
            (Some(state), "not_found") => state.is_deleted(),
            (Some(state), "instance_deleting") => state.desired == DesiredState::Deleted && !state.is_deleted(),
            (Some(state), "instance_failed") => {
                state.current_placement.is_none() && state.desired != DesiredState::Deleted && !state.is_deleted()
            }
            (Some(state), _) if to == DesiredState::Deleted => state.desired == to || state.is_deleted(),
            (Some(state), _) => {
                state.desired == to && !state.is_deleted() && !matches!(state.progress, Progress::Failed { .. })
            }
        };
        let known = self.log.instance(id).into_iter().flat_map(|timeline| &timeline.states);
        let states: Vec<(u64, Option<&Instance>)> =
            [(0, None)].into_iter().chain(known.map(|(sequence, state)| (*sequence, Some(state)))).collect();
        Some(intervals(&states, holds))
    }

    fn name_taken(&self, operation: &Operation) -> Option<Vec<(u64, u64)>> {
        let (user, name) = (operation.user?, operation.sent["name"].as_str()?);
        let mut held: Vec<(u64, u64)> = Vec::new();
        for timeline in self.log.instances().values().filter(|timeline| timeline.user == user) {
            let has_name = |state: &Instance| {
                !state.is_deleted()
                    && state.name.plain().is_some_and(|plain| plain.to_string().eq_ignore_ascii_case(name))
            };
            held.extend(intervals(&timeline.states, has_name));
        }
        held.sort_unstable();
        Some(held)
    }
}

/// When a condition holds, given the states with their first sequences.
fn intervals<T>(states: &[(u64, T)], holds: impl Fn(&T) -> bool) -> Vec<(u64, u64)> {
    let ends = states.iter().skip(1).map(|(begun, _)| *begun).chain([u64::MAX]);
    states.iter().zip(ends).filter(|((_, state), _)| holds(state)).map(|((begun, _), end)| (*begun, end)).collect()
}
