//! The faults took effect: a run that broke nothing proves nothing.

use super::{Invariant, Violations};
use crate::history::{Operation, Outcome, OutcomeClass};
use crate::report::{Action, Component, Fault, Report, Topology};

/// Whether a client must see the fault. Clients send no requests to agents, and a cluster tolerates the loss of a node.
fn must_be_visible(fault: &Fault, topology: Topology) -> bool {
    match (fault.action, fault.component) {
        (_, Component::Agent) => false,
        (Action::Kill, Component::Replica) => true,
        (Action::Kill, Component::Nats | Component::Mongod) => topology == Topology::R1,
        (Action::Pause, _) => false,
    }
}

/// Whether a request's outcome shows the fault.
fn is_visible_in(operation: &Operation, fault: &Fault) -> bool {
    let during = operation.ended.ms >= fault.begun.ms && operation.begun.ms <= fault.healed.ms;
    let down =
        |dependency: &str| operation.data()["down"].as_array().into_iter().flatten().any(|down| down == dependency);
    during
        && match fault.component {
            Component::Replica => {
                matches!(operation.outcome, Outcome::NoResponse { .. }) && fault.targets.contains(&operation.replica)
            }
            Component::Nats => {
                down("broker")
                    || operation.code() == "broker_unavailable"
                    || (operation.code() == "outcome_unknown" && operation.class() == OutcomeClass::Unknown)
            }
            Component::Mongod => down("database") || operation.code() == "database_unavailable",
            Component::Agent => false,
        }
}

pub(super) fn check(report: &Report, violations: &mut Violations) {
    for fault in &report.faults {
        let name = format!("{:?} of {:?} {:?} at {} ms", fault.action, fault.component, fault.targets, fault.begun.ms);
        if fault.processes.is_empty() || fault.processes.iter().any(|(_, confirmed)| !confirmed) {
            violations.add(Invariant::Faults, "the fault did not take effect", [&name], []);
        }
        if !must_be_visible(fault, report.plan.topology) {
            continue;
        }
        let witness = fault.visible_in.as_ref().and_then(|id| report.history.iter().find(|op| op.request == *id));
        if !witness.is_some_and(|operation| is_visible_in(operation, fault)) {
            violations.add(Invariant::Faults, "the fault was not visible to a client", [&name], []);
        }
    }
    if report.plan.rounds > 0 && report.faults.is_empty() {
        violations.add(Invariant::Faults, "faults were planned and none was injected", [""; 0], []);
    }
}
