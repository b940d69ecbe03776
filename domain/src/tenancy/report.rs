//! Handles a backend's report about an instance.
//!
//! Agents are not trusted, and reports arrive late, repeated and out of order. So only the backend of the current
//! placement can change an instance, a report that is not newer than the last one is ignored, and a report of a lower
//! generation is recorded but completes nothing.

use super::event::{
    Deleted, DeletionOutcome, Failed, FailureReason, Observed, PlacementFailure, RecordedObservation, Released,
    ReportPosition, TenancyEvent,
};
use super::instance::Instance;
use super::policy::Facts;
use super::progress::Progress;
use super::{Tenancy, retry};
use crate::aggregate::{Command, CommandClass};
use crate::ids::BackendId;
use crate::wire::{DesiredState, Observation, Report, ReportKind};

/// Handle a report.
#[derive(Debug, Clone)]
pub struct HandleReport {
    /// The sender, which the broker has authenticated.
    pub backend_id: BackendId,
    /// The report.
    pub report: Report,
    /// The report's position.
    pub position: ReportPosition,
    /// Includes the candidates for another placement.
    pub facts: Facts,
}

/// Why a report is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportRejected {
    /// The backend has a container without an assignment, and must be told to remove it.
    #[error("no assignment exists for this container")]
    OrphanedContainer,
}

impl Command for HandleReport {
    type Aggregate = Tenancy;
    type Rejection = ReportRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, ReportRejected> {
        let report = &self.report;
        match state.instance(report.instance_id) {
            None => self.decide_other_placement(None),
            Some(instance) => match &instance.current_placement {
                Some(current) if current.backend_id == self.backend_id && report.placement == instance.placement => {
                    Ok(self.decide_current_placement(instance))
                }
                _ => self.decide_other_placement(Some(instance)),
            },
        }
    }
}

impl HandleReport {
    /// A report of an abandoned or unknown placement.
    fn decide_other_placement(&self, instance: Option<&Instance>) -> Result<Option<TenancyEvent>, ReportRejected> {
        let report = &self.report;
        let pending = instance.and_then(|instance| instance.pending_removals.get(&self.backend_id)).copied();
        // The assignment of the current placement also makes its agent remove older containers.
        let placed_here = instance
            .and_then(|instance| instance.current_placement.as_ref())
            .is_some_and(|current| current.backend_id == self.backend_id);
        match (&report.kind, pending) {
            (ReportKind::InstanceDeleted, Some(placement)) if report.placement >= placement => {
                Ok(Some(TenancyEvent::Released(Released {
                    instance_id: report.instance_id,
                    backend_id: self.backend_id,
                    placement,
                })))
            }
            (ReportKind::InstanceCreated(_) | ReportKind::InstanceStatus(_), None) if !placed_here => {
                Err(ReportRejected::OrphanedContainer)
            }
            _ => Ok(None),
        }
    }

    fn decide_current_placement(&self, instance: &Instance) -> Option<TenancyEvent> {
        let report = &self.report;
        if instance.last_report.is_some_and(|last| self.position <= last) || report.generation > instance.generation {
            return None;
        }
        match &report.kind {
            ReportKind::InstanceCreated(observation) | ReportKind::InstanceStatus(observation) => {
                self.observed(instance, observation)
            }
            ReportKind::InstanceDeleted => {
                let requested = instance.desired == DesiredState::Deleted && report.generation == instance.generation;
                let outcome = DeletionOutcome::Confirmed { backend_id: self.backend_id };
                let (instance_id, generation) = (report.instance_id, instance.generation);
                requested.then_some(TenancyEvent::Deleted(Deleted { instance_id, generation, outcome }))
            }
            ReportKind::InstanceRefused(error) => self.failed(instance, FailureReason::Refused(error.into())),
            ReportKind::InstanceFailed(error) => self.failed(instance, FailureReason::Failed(error.into())),
        }
    }

    fn observed(&self, instance: &Instance, observation: &Observation) -> Option<TenancyEvent> {
        let generation = self.report.generation;
        let last = instance.last_observation();
        let phase = observation.phase;
        let observation = RecordedObservation::from(observation);
        if instance.desired == DesiredState::Deleted || last.is_some_and(|last| generation < last.generation) {
            return None;
        }
        let unchanged = last.is_some_and(|last| last.generation == generation && last.observation == observation);
        let satisfied = instance.satisfied_by(generation, phase);
        let stable = instance.progress == Progress::Stable;
        if unchanged && (stable || !satisfied) {
            return None;
        }
        let policy = &self.facts.policy;
        let within = if instance.desired == DesiredState::Stopped { policy.stop_within } else { policy.resume_within };
        Some(TenancyEvent::Observed(Observed {
            instance_id: self.report.instance_id,
            placement: self.report.placement,
            generation,
            observation,
            report: self.position,
            deadline: (stable && !satisfied).then(|| self.facts.now.after(within)),
        }))
    }

    /// Ignored during a deletion, which ends by its deadline, and for a lower generation.
    fn failed(&self, instance: &Instance, reason: FailureReason) -> Option<TenancyEvent> {
        if instance.desired == DesiredState::Deleted || self.report.generation != instance.generation {
            return None;
        }
        let (instance_id, report) = (self.report.instance_id, Some(self.position));
        let failure = PlacementFailure { backend_id: self.backend_id, reason };
        if instance.never_ran() {
            return Some(retry::place_again_or_fail(instance_id, instance, failure, report, &self.facts));
        }
        if instance.progress == (Progress::Failed { failure: failure.clone() }) {
            return None;
        }
        let generation = instance.generation;
        Some(TenancyEvent::Failed(Failed { instance_id, generation, failure, abandons_placement: false, report }))
    }
}
