//! Whether the faults happened: a run that broke nothing proves nothing.
//!
//! In: the plan, the faults, the history. Out: faults whose process was not gone (or stopped), that no client noticed
//! although it must have, and kinds of faults that did not happen as often as was planned.

use super::{Found, Invariant};
use crate::history::{Operation, Outcome, Verdict};
use crate::report::{Act, Fault, Part, Report, Topology};

/// Whether clients must notice: nobody asks an agent, and of three nodes one may be missed by nobody.
fn is_noticed(fault: &Fault, topology: Topology) -> bool {
    match (fault.act, fault.part) {
        (_, Part::Agent) => false,
        (Act::Kill, Part::Replica) => true,
        (Act::Kill, Part::Nats | Part::Mongod) => topology == Topology::R1,
        (Act::Pause, _) => false,
    }
}

/// Whether a request's outcome shows that a part was not there.
fn shows(operation: &Operation, fault: &Fault) -> bool {
    let during = operation.ended.ms >= fault.begun.ms && operation.begun.ms <= fault.healed.ms;
    let down = |part: &str| operation.data()["down"].as_array().into_iter().flatten().any(|down| down == part);
    during
        && match fault.part {
            Part::Replica => {
                matches!(operation.outcome, Outcome::Lost { .. }) && fault.targets.contains(&operation.replica)
            }
            Part::Nats => {
                down("broker")
                    || operation.code() == "broker_unavailable"
                    || (operation.code() == "outcome_unknown" && operation.verdict() == Verdict::Unknown)
            }
            Part::Mongod => down("database") || operation.code() == "database_unavailable",
            Part::Agent => false,
        }
}

pub(super) fn check(report: &Report, found: &mut Found) {
    for fault in &report.faults {
        let name = format!("{:?} of {:?} {:?} at {} ms", fault.act, fault.part, fault.targets, fault.begun.ms);
        if fault.processes.is_empty() || fault.processes.iter().any(|(_, happened)| !happened) {
            found.add(Invariant::Faults, "the process did not notice", [&name], []);
        }
        if !is_noticed(fault, report.plan.topology) {
            continue;
        }
        let witness = fault.shown_by.as_ref().and_then(|id| report.history.iter().find(|op| op.request == *id));
        if !witness.is_some_and(|operation| shows(operation, fault)) {
            found.add(Invariant::Faults, "nobody noticed", [&name], []);
        }
    }
    if report.plan.rounds > 0 && report.faults.is_empty() {
        found.add(Invariant::Faults, "faults were planned and none happened", [""; 0], []);
    }
}
