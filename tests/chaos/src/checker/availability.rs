//! I19: after each fault the system becomes well. Also the table of the availability under each kind of fault.

use std::collections::BTreeMap;
use std::fmt;

use super::log::Log;
use super::{Invariant, Violations};
use crate::history::Operation;
use crate::prober::Probe;
use crate::report::{Injection, Report};

pub(super) fn check(report: &Report, violations: &mut Violations) {
    for fault in report.faults.iter().filter(|fault| fault.well_after_ms.is_none()) {
        let what = format!("the system was not well {} s after the fault had ended", report.plan.heals_within);
        violations.add(Invariant::I19, what, [fault], []);
    }
}

/// The availability under one kind of fault, or one pair.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub faults: usize,
    /// How many faults the system did not recover from in time.
    pub never: usize,
    /// The shortest and the longest time until it was well, in milliseconds after the end of the fault.
    pub well_after: Option<(u64, u64)>,
    /// The longest times without a success at any replica, in milliseconds: stored, read, carried out. They contain the
    /// fault itself.
    pub gaps: [u64; 3],
}

/// The availability by the names of faults.
#[derive(Debug, Default)]
pub struct Table(pub BTreeMap<String, Row>);

/// When and where a probe succeeded, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Success {
    pub ms: u64,
    pub replica: usize,
}

/// The successes of each kind of probe (stored, read, carried out), ascending.
#[must_use]
pub fn successes(history: &[Operation], log: &Log) -> [Vec<Success>; 3] {
    [Probe::Stored, Probe::Read, Probe::CarriedOut].map(|probe| {
        let is_success = |operation: &&Operation| {
            // A command that changes nothing stores nothing.
            let stored =
                probe == Probe::Read || log.events.is_empty() || log.caused_by(&operation.request).next().is_some();
            Probe::of(operation) == Some(probe) && probe.succeeded(operation) && stored
        };
        let success = |operation: &Operation| Success { ms: operation.ended.ms, replica: operation.replica };
        let mut successes: Vec<Success> = history.iter().filter(is_success).map(success).collect();
        successes.sort_unstable();
        successes
    })
}

/// The longest time without a success between `from` and `to`. The successes are ascending.
pub fn gap(successes: impl Iterator<Item = u64>, from: u64, to: u64) -> u64 {
    let within = successes.filter(|ms| (from..=to).contains(ms));
    let mut last = from;
    let mut longest = 0;
    for ms in within.chain([to]) {
        longest = longest.max(ms - last);
        last = ms;
    }
    longest
}

impl Table {
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let log = Log::read(&report.observation, &mut Violations::default());
        let successes = successes(&report.history, &log);
        let mut table = Self::default();
        for fault in &report.faults {
            let row = table.0.entry(fault.name()).or_default();
            row.add(fault, &successes, report.plan.heals_within * 1000);
        }
        table
    }
}

impl Row {
    fn add(&mut self, fault: &Injection, successes: &[Vec<Success>; 3], waited: u64) {
        self.faults += 1;
        match fault.well_after_ms {
            Some(ms) => {
                let (least, most) = self.well_after.unwrap_or((ms, ms));
                self.well_after = Some((least.min(ms), most.max(ms)));
            }
            None => self.never += 1,
        }
        let end = fault.healed.ms + fault.well_after_ms.unwrap_or(waited);
        for (longest, successes) in self.gaps.iter_mut().zip(successes) {
            *longest = (*longest).max(gap(successes.iter().map(|success| success.ms), fault.begun.ms, end));
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| format!("{}.{}", ms / 1000, ms % 1000 / 100);
        writeln!(
            f,
            "| fault | n | well after, s | longest gap, s: stored | read | carried out |\n|---|---|---|---|---|---|"
        )?;
        for (name, row) in &self.0 {
            let well = row.well_after.map(|(least, most)| format!("{} to {}", seconds(least), seconds(most)));
            let never = (row.never > 0).then(|| format!("never × {}", row.never));
            let well: Vec<String> = well.into_iter().chain(never).collect();
            let [stored, read, carried_out] = row.gaps.map(seconds);
            writeln!(f, "| {name} | {} | {} | {stored} | {read} | {carried_out} |", row.faults, well.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::gap;

    #[test]
    fn gap_longest_time_between_successes_contains_the_ends() {
        assert_eq!(gap([100, 200, 900].into_iter(), 0, 1000), 700);
        assert_eq!(gap([100].into_iter(), 0, 1000), 900);
        assert_eq!(gap([].into_iter(), 0, 1000), 1000);
        assert_eq!(gap([2000].into_iter(), 0, 1000), 1000);
    }
}
