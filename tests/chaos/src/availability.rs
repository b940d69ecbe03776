//! How long single faults are noticed: which faults are measured, for how long each is held, and the table of the results
//! beside the targets of `docs/OPERATIONS.md`.

use std::fmt;
use std::time::Duration;

use crate::checker::Violations;
use crate::checker::availability::{Success, gap, successes};
use crate::checker::log::Log;
use crate::report::{Injection, Kind, Part, Report, Topology};

/// A fault that is measured.
#[derive(Debug)]
pub struct Row {
    pub fault: &'static str,
    pub kind: Kind,
    pub topology: Topology,
    hold: Duration,
    /// Writes stored, reads, carried out.
    targets: [Target; 3],
}

/// The longest time without a success that is acceptable, in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// From the beginning of the fault on. It contains the time between two probes.
    Gap(u64),
    /// From the moment on when what was killed is started again.
    After(u64),
}

/// The time between two probes at three replicas, and that of a slow answer.
const NO_GAP: Target = Gap(500);

const fn row(
    fault: &'static str,
    kind: Kind,
    topology: Topology,
    hold_secs: u64,
    stored: Target,
    read: Target,
    carried_out: Target,
) -> Row {
    Row { fault, kind, topology, hold: Duration::from_secs(hold_secs), targets: [stored, read, carried_out] }
}

use Target::{After, Gap};
use Topology::{R1, R3};

/// The measured faults.
#[rustfmt::skip]
pub const ROWS: [Row; 9] = [
    row("the leader is killed", Kind::KillLeader, R3, 8, NO_GAP, NO_GAP, Gap(4_000)),
    row("the leader hangs", Kind::PauseLeader, R3, 12, NO_GAP, NO_GAP, Gap(4_000)),
    row("all replicas are restarted, one by one", Kind::RollReplicas, R3, 1, Gap(500), NO_GAP, Gap(3_000)),
    row("the broker node that leads EVENTS is killed", Kind::KillNatsLeader, R3, 12, Gap(5_000), NO_GAP, Gap(7_000)),
    row("the broker node that leads EVENTS hangs", Kind::PauseNatsLeader, R3, 20, Gap(5_000), NO_GAP, Gap(7_000)),
    row("two broker nodes are killed", Kind::KillTwoNats, R3, 8, After(3_000), NO_GAP, After(6_000)),
    row("the primary of the database is killed", Kind::KillMongod, R3, 12, NO_GAP, Gap(4_000), NO_GAP),
    row("everything loses power", Kind::Power, R3, 2, After(15_000), After(15_000), After(15_000)),
    row("the only broker node is killed", Kind::KillNats, R1, 5, After(1_000), NO_GAP, After(3_000)),
];

/// How long these kinds of faults are held.
#[must_use]
pub fn hold(kinds: &[Kind]) -> Duration {
    ROWS.iter().filter(|row| kinds.contains(&row.kind)).map(|row| row.hold).max().unwrap_or_default()
}

/// The kinds that are measured on these servers.
#[must_use]
pub fn kinds(topology: Topology) -> Vec<Kind> {
    ROWS.iter().filter(|row| row.topology == topology).map(|row| row.kind).collect()
}

/// The measured times of one row and probe, in milliseconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Cell {
    /// The longest times without a success at any replica: what a client notices that tries another replica.
    anywhere: Vec<u64>,
    /// The same at the replica that was worst off, of those that were not hit themselves.
    at_worst: Vec<u64>,
}

/// The results.
#[derive(Debug)]
pub struct Measured {
    rows: Vec<(&'static Row, [Cell; 3])>,
}

impl Measured {
    /// The results of a run.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let log = Log::read(&report.observation, &mut Violations::default());
        let successes = successes(&report.history, &log);
        let rows = ROWS.iter().filter(|row| row.topology == report.plan.topology).map(|row| {
            let faults = report.faults.iter().filter(|fault| fault.kinds == [row.kind]);
            let mut cells = <[Cell; 3]>::default();
            for fault in faults {
                for ((cell, target), successes) in cells.iter_mut().zip(row.targets).zip(&successes) {
                    cell.add(fault, target, successes, &report.plan);
                }
            }
            (row, cells)
        });
        Self { rows: rows.filter(|(_, cells)| !cells[0].anywhere.is_empty()).collect() }
    }
}

impl Cell {
    fn add(&mut self, fault: &Injection, target: Target, successes: &[Success], plan: &crate::report::Plan) {
        let from = match target {
            Gap(_) => fault.begun.ms,
            After(_) => fault.ending.map_or(fault.begun.ms, |ending| ending.ms),
        };
        let to = fault.healed.ms + fault.well_after_ms.unwrap_or(plan.heals_within * 1000);
        self.anywhere.push(gap(successes.iter().map(|success| success.ms), from, to));
        let is_hit = |replica: usize| fault.targets.contains(&(Part::Replica, replica));
        let mut others: Vec<usize> = (0..plan.replicas).filter(|replica| !is_hit(*replica)).collect();
        if others.is_empty() {
            others = (0..plan.replicas).collect();
        }
        let at = |replica| successes.iter().filter(move |success| success.replica == replica).map(|success| success.ms);
        self.at_worst.extend(others.into_iter().map(|replica| gap(at(replica), from, to)).max());
    }
}

/// The median and the largest value.
fn median_and_max(values: &[u64]) -> (u64, u64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    (sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0), sorted.last().copied().unwrap_or(0))
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", (ms + 50) / 1000, (ms + 50) % 1000 / 100)
}

impl Cell {
    fn text(&self, target: Target) -> String {
        let (median, max) = median_and_max(&self.anywhere);
        let (_, worst) = median_and_max(&self.at_worst);
        let (mark, limit) = match target {
            Gap(limit) => ("", limit),
            After(limit) => ("+ ", limit),
        };
        let missed = if max > limit { " **missed**" } else { "" };
        format!("{mark}{} / {} / {} (≤ {}){missed}", seconds(median), seconds(max), seconds(worst), seconds(limit))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Seconds without a success: median / longest at any replica / longest at one replica (target);")?;
        writeln!(f, "`+`: from the moment on when what was killed is started again.\n")?;
        writeln!(f, "| fault | n | writes stored | reads | carried out |\n|---|---|---|---|---|")?;
        for (row, cells) in &self.rows {
            let [stored, read, carried_out] = [0, 1, 2].map(|probe: usize| cells[probe].text(row.targets[probe]));
            writeln!(f, "| {} | {} | {stored} | {read} | {carried_out} |", row.fault, cells[0].anywhere.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_max_of_an_even_number_is_the_lower_middle() {
        assert_eq!(median_and_max(&[4, 1, 3, 2]), (2, 4));
        assert_eq!(median_and_max(&[5]), (5, 5));
        assert_eq!(median_and_max(&[]), (0, 0));
    }

    #[test]
    fn seconds_are_rounded_to_tenths() {
        assert_eq!([949, 950, 49, 12_340].map(seconds), ["0.9", "1.0", "0.0", "12.3"]);
    }
}
