//! The checker: checks a report against the invariants of `docs/TESTING.md`, with one file per group of invariants.

pub mod availability;
mod commands;
mod containers;
mod copies;
mod decisions;
mod drains;
mod envelope;
mod faults;
mod health;
mod linearizability;
pub mod log;
mod models;
mod names;
pub mod order;
mod reads;
pub mod recovery;
mod webhooks;

use std::fmt;

use crate::report::Report;
use log::Log;
use order::Order;

/// An invariant, by its number in `docs/TESTING.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// The events of an acknowledged command are in the log exactly once.
    I1,
    /// A refused command stored no event; an unknown one stored all of its events or none.
    I2,
    /// An event's expectation was its subject's last sequence.
    I3,
    /// The rules decide each event on the state before it; the state after it is valid.
    I4,
    /// A name has one owner.
    I5,
    /// No user exceeds the quota of instances, no machine its maximum of containers.
    I6,
    /// A placement has at most one container ever, an instance at most one at the end, and none without an event.
    I7,
    /// A document is the fold of its events; a reader with a position never sees it go back.
    I8,
    /// A rebuilt read model is identical.
    I9,
    /// A read with a position shows everything up to that position.
    I13,
    /// All nodes have the same log.
    I14,
    /// After the last fault the system becomes healthy.
    I16,
    /// Each command took effect, or was decided, at one moment between its start and its response.
    I17,
    /// Every response has the documented envelope.
    I18,
    /// After each fault the system becomes well.
    I19,
    /// `/health` tells the truth.
    I20,
    /// A drain ends as promised.
    I21,
    /// Each planned fault took effect.
    Faults,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub invariant: Invariant,
    /// The description.
    pub what: String,
    /// The affected objects: requests, instances, subjects.
    pub objects: Vec<String>,
    /// The related sequences of the log.
    pub sequences: Vec<u64>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)?;
        if !self.objects.is_empty() {
            write!(f, " [{}]", self.objects.join(", "))?;
        }
        if !self.sequences.is_empty() {
            write!(f, " at {:?}", self.sequences)?;
        }
        Ok(())
    }
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    fn add(
        &mut self,
        invariant: Invariant,
        what: impl Into<String>,
        objects: impl IntoIterator<Item = impl ToString>,
        sequences: impl IntoIterator<Item = u64>,
    ) {
        self.0.push(Violation {
            invariant,
            what: what.into(),
            objects: objects.into_iter().map(|object| object.to_string()).collect(),
            sequences: sequences.into_iter().collect(),
        });
    }

    /// The violations, ordered by invariant.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Violation> {
        self.0.sort();
        self.0
    }
}

/// Checks a report.
#[must_use]
pub fn check(report: &Report) -> Vec<Violation> {
    let mut violations = Violations::default();
    envelope::check(&report.history, &mut violations);
    availability::check(report, &mut violations);
    health::check(report, &mut violations);
    faults::check(report, &mut violations);
    if let Some(reason) = &report.unobserved {
        // The rest compares with the state at the end.
        violations.add(Invariant::I16, format!("the system could not be observed: {reason}"), [""; 0], []);
        return violations.into_sorted();
    }
    let log = Log::read(&report.observation, &mut violations);
    let order = Order::of(&report.history, &log);
    linearizability::check(&report.history, &log, &order, &mut violations);
    commands::check(&report.history, &log, &mut violations);
    decisions::check(&log, report.plan.quota, &mut violations);
    drains::check(&log, &mut violations);
    names::check(&log, &mut violations);
    containers::check(&report.observation, &log, &mut violations);
    models::check(&report.observation, &log, &mut violations);
    reads::check(&report.history, &log, &order, &mut violations);
    copies::check(&report.observation, &mut violations);
    recovery::check(&report.observation, &log, &mut violations);
    violations.into_sorted()
}
