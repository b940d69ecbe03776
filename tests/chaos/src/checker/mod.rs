//! The checker: a report against what DockHost promises.
//!
//! In: a report, nothing else. Out: each promise that was broken, with what it was broken for. One file per group of
//! invariants; their numbers are those of `docs/TESTING.md`.

mod commands;
mod containers;
mod copies;
mod decisions;
mod faults;
pub mod healed;
pub mod log;
mod models;
mod names;
mod reads;

use std::fmt;

use crate::report::Report;
use log::Log;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// What was acknowledged is in the log, once.
    I1,
    /// What was refused left nothing; what is unknown is there in whole or not at all.
    I2,
    /// An event's expectation was its subject's last sequence.
    I3,
    /// Each event is one that the rules decide upon the state before it, and leaves a legal state.
    I4,
    /// A name has one holder.
    I5,
    /// Nobody has more instances than they may, no machine more containers than it takes.
    I6,
    /// A placement has one container, ever; an instance one in the end; and none without an event.
    I7,
    /// A document is the fold of its events; who reads it with a position never sees it go back.
    I8,
    /// A read model that is folded anew is the same.
    I9,
    /// Who reads with a position sees all that was written up to it.
    I13,
    /// All nodes hold the same log.
    I14,
    /// After the last fault all is well again.
    I16,
    /// Each fault that was to happen did.
    Faults,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub invariant: Invariant,
    /// What is wrong.
    pub what: String,
    /// The things that it is wrong for: a request, an instance, a subject.
    pub objects: Vec<String>,
    /// Where in the log.
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

/// Where the parts of the checker put what they find.
#[derive(Debug, Default)]
pub struct Found(Vec<Violation>);

impl Found {
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

    /// All of it, in the order of the invariants.
    #[must_use]
    pub fn violations(mut self) -> Vec<Violation> {
        self.0.sort();
        self.0
    }
}

/// Checks a report.
#[must_use]
pub fn check(report: &Report) -> Vec<Violation> {
    let mut found = Found::default();
    let log = Log::read(&report.observation, &mut found);
    commands::check(&report.history, &log, &mut found);
    decisions::check(&log, report.plan.quota, &mut found);
    names::check(&log, &mut found);
    containers::check(&report.observation, &log, &mut found);
    models::check(&report.observation, &log, &mut found);
    reads::check(&report.history, &log, &mut found);
    copies::check(&report.observation, &mut found);
    healed::check(&report.observation, &log, &mut found);
    faults::check(report, &mut found);
    found.violations()
}
