//! I20: `/health` tells the truth: it is not well while commands or queries fail for long, and it does not report a fault
//! while all of them succeed for long.

use super::{Invariant, Violations};
use crate::history::{Operation, Outcome};
use crate::prober::Probe;
use crate::report::{Injection, Kind, Part, Report};

/// How long `/health` may differ from what the probes find, in milliseconds.
const BOUND: u64 = 15_000;
/// Fewer attempts prove nothing.
const MIN_ATTEMPTS: usize = 3;

pub(super) fn check(report: &Report, violations: &mut Violations) {
    for replica in 0..report.plan.replicas {
        let health = probes(report, Probe::Health, Some(replica));
        for probe in [Probe::Stored, Probe::Read] {
            let attempts = probes(report, probe, Some(replica));
            check_well(replica, &health, &failing(&attempts, probe), probe, violations);
        }
        // A single machine may be down, so this probe counts only if it fails at all replicas.
        let attempts = probes(report, Probe::CarriedOut, None);
        let mut spans = failing(&attempts, Probe::CarriedOut);
        spans.retain(|span| {
            !overlaps(report, *span, |fault| fault.targets.iter().any(|(part, _)| *part == Part::Agent))
        });
        check_well(replica, &health, &spans, Probe::CarriedOut, violations);
        check_false_alarms(report, replica, &health, violations);
    }
}

/// The requests of a probe, ordered by their start.
fn probes(report: &Report, probe: Probe, replica: Option<usize>) -> Vec<&Operation> {
    let is_wanted =
        |operation: &&Operation| Probe::of(operation) == Some(probe) && replica.is_none_or(|n| n == operation.replica);
    let mut found: Vec<&Operation> = report.history.iter().filter(is_wanted).collect();
    found.sort_by_key(|operation| operation.begun.ms);
    found
}

/// The spans without a success, each from a success to the start of the last attempt that failed, that are longer than the
/// bound. Later answers may be from after the end of the fault.
fn failing(attempts: &[&Operation], probe: Probe) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    let mut since = None;
    let mut failed = 0;
    let mut last_failed = 0;
    for operation in attempts {
        // A refusal because of the instance's state shows that commands are decided.
        let is_decided = operation.status().is_some_and(|status| (400..500).contains(&status));
        if probe.succeeded(operation) || is_decided {
            if let Some(since) = since.filter(|_| failed >= MIN_ATTEMPTS) {
                spans.push((since, last_failed));
            }
            // With several replicas, a success may end after a failure that began later.
            since = Some(since.unwrap_or(0).max(operation.ended.ms));
            failed = 0;
        } else {
            failed += 1;
            last_failed = operation.begun.ms;
        }
    }
    if let Some(since) = since.filter(|_| failed >= MIN_ATTEMPTS) {
        spans.push((since, last_failed));
    }
    spans.retain(|(from, to)| to.saturating_sub(*from) > BOUND);
    spans
}

fn overlaps(report: &Report, (from, to): (u64, u64), is_such: impl Fn(&Injection) -> bool) -> bool {
    report.faults.iter().any(|fault| {
        let end = fault.healed.ms + fault.well_after_ms.unwrap_or(report.plan.heals_within * 1000);
        fault.begun.ms <= to && end >= from && is_such(fault)
    })
}

fn says_well(operation: &Operation) -> bool {
    operation.status() == Some(200) && matches!(operation.data()["status"].as_str(), Some("healthy"))
}

fn check_well(replica: usize, health: &[&Operation], spans: &[(u64, u64)], probe: Probe, violations: &mut Violations) {
    for (from, to) in spans {
        let within = |one: &&&Operation| one.begun.ms >= from + BOUND && one.ended.ms <= *to;
        let false_answers: Vec<_> = health.iter().filter(within).filter(|one| says_well(one)).collect();
        if let Some(first) = false_answers.first() {
            let what = format!(
                "/health of replica {replica} said that it is well, {} times, while no probe \"{probe:?}\" succeeded from \
                 {from} to {to} ms",
                false_answers.len()
            );
            violations.add(Invariant::I20, what, [first], []);
        }
    }
}

/// A fault that `/health` reports for longer than the bound while everything succeeds.
fn check_false_alarms(report: &Report, replica: usize, health: &[&Operation], violations: &mut Violations) {
    let alarm = |one: &Operation| matches!(one.outcome, Outcome::Answered { status, .. } if status != 200);
    for span in health.chunk_by(|one, next| alarm(one) == alarm(next)).filter(|span| alarm(span[0])) {
        // From the first answer on: a paused replica answers late.
        let (from, to) = (span[0].ended.ms, span[span.len() - 1].ended.ms);
        // A replica whose clock is wrong may call itself not ready.
        if to.saturating_sub(from) <= BOUND
            || overlaps(report, (from, to), |fault| fault.kinds.contains(&Kind::ClockReplica))
        {
            continue;
        }
        let all_succeed = [Probe::Stored, Probe::Read, Probe::CarriedOut].into_iter().all(|probe| {
            let attempts = probes(report, probe, (probe != Probe::CarriedOut).then_some(replica));
            let mut within = attempts.iter().filter(|one| one.begun.ms >= from && one.ended.ms <= to).peekable();
            within.peek().is_some() && within.all(|one| probe.succeeded(one))
        });
        if all_succeed {
            let what = format!(
                "/health of replica {replica} reported a fault from {from} to {to} ms, and every probe succeeded"
            );
            violations.add(Invariant::I20, what, [span[0]], []);
        }
    }
}
