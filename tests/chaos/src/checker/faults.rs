//! The faults took effect: a run that broke nothing proves nothing.

use super::{Invariant, Violations};
use crate::history::{Operation, Outcome, OutcomeClass};
use crate::report::{Injection, Kind, Part, Report};

/// Whether a request's outcome shows a fault of this kind.
fn is_visible_in(operation: &Operation, kind: Kind, fault: &Injection) -> bool {
    let during = operation.ended.ms >= fault.begun.ms && operation.begun.ms <= fault.healed.ms;
    let down =
        |dependency: &str| operation.data()["down"].as_array().into_iter().flatten().any(|down| down == dependency);
    during
        && match kind {
            Kind::KillNats => {
                down("broker")
                    || operation.code() == "broker_unavailable"
                    || (operation.code() == "outcome_unknown" && operation.class() == OutcomeClass::Unknown)
            }
            Kind::KillMongod => down("database") || operation.code() == "database_unavailable",
            _ => {
                matches!(operation.outcome, Outcome::NoResponse { .. })
                    && fault.targets.contains(&(Part::Replica, operation.replica))
            }
        }
}

pub(super) fn check(report: &Report, violations: &mut Violations) {
    for fault in &report.faults {
        for evidence in fault.evidence.iter().filter(|evidence| !evidence.confirmed) {
            let what = format!("the fault did not take effect: {}", evidence.what);
            violations.add(Invariant::Faults, what, [fault], []);
        }
        if fault.evidence.is_empty() {
            violations.add(Invariant::Faults, "the fault did not take effect", [fault], []);
        }
        for kind in fault.kinds.iter().filter(|kind| kind.must_be_visible(report.plan.topology)) {
            if !report.history.iter().any(|operation| is_visible_in(operation, *kind, fault)) {
                violations.add(Invariant::Faults, "the fault was not visible to a client", [fault], []);
            }
        }
    }
    if report.plan.rounds > 0 && report.faults.is_empty() {
        violations.add(Invariant::Faults, "faults were planned and none was injected", [""; 0], []);
    }
}
