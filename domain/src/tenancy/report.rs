//! Decision: a backend reports of an instance. In: who, what, and where the report stands among all. Out: what it
//! changes, if anything; or that the backend holds something it should not.
//!
//! An agent is not trusted and reports arrive late, twice and out of order, so most of this is about what does not
//! count: only the machine that holds the placement may speak of it, an older report is a no-op, an older generation
//! is recorded but completes nothing.

use super::event::{
    Deleted, DeletionOutcome, Failed, FailureReason, Observed, PlacementFailure, Released, ReportPosition, TenancyEvent,
};
use super::instance::{Instance, Progress};
use super::policy::Facts;
use super::{Tenancy, retry};
use crate::aggregate::Command;
use crate::ids::BackendId;
use crate::wire::{DesiredState, Observation, Report, ReportKind};

/// A backend reports.
#[derive(Debug, Clone)]
pub struct HandleReport {
    /// Who: the broker vouches for it.
    pub backend_id: BackendId,
    /// What.
    pub report: Report,
    /// Where it stands.
    pub position: ReportPosition,
    /// For another machine, if this one can't.
    pub facts: Facts,
}

/// The report is about nothing that this backend should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportRejected {
    /// The backend holds a container that nobody wants there: it must be told to remove it.
    #[error("nobody wants this container")]
    OrphanedContainer,
}

impl Command for HandleReport {
    type Aggregate = Tenancy;
    type Rejection = ReportRejected;

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, ReportRejected> {
        let report = &self.report;
        match state.instance(report.instance_id) {
            None => self.not_ours(None),
            Some(instance) => match &instance.current_placement {
                Some(site) if site.backend_id == self.backend_id && report.placement == instance.placement => {
                    Ok(self.current(instance))
                }
                _ => self.not_ours(Some(instance)),
            },
        }
    }
}

impl HandleReport {
    /// Of a placement that was given up, or of none that we know.
    fn not_ours(&self, instance: Option<&Instance>) -> Result<Option<TenancyEvent>, ReportRejected> {
        let report = &self.report;
        let retired = instance.and_then(|instance| instance.pending_removals.get(&self.backend_id)).copied();
        // A new placement of it on the same machine supersedes what is left of older ones there.
        let placed_here = instance
            .and_then(|instance| instance.current_placement.as_ref())
            .is_some_and(|site| site.backend_id == self.backend_id);
        match (&report.kind, retired) {
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

    /// Of the placement that counts.
    fn current(&self, instance: &Instance) -> Option<TenancyEvent> {
        let report = &self.report;
        if instance.last_report.is_some_and(|last| self.position <= last) || report.generation > instance.generation {
            return None;
        }
        match &report.kind {
            ReportKind::InstanceCreated(seen) | ReportKind::InstanceStatus(seen) => self.observed(instance, seen),
            ReportKind::InstanceDeleted => {
                let asked = instance.desired == DesiredState::Deleted && report.generation == instance.generation;
                let end = DeletionOutcome::Confirmed { backend_id: self.backend_id };
                let (instance_id, generation) = (report.instance_id, instance.generation);
                asked.then_some(TenancyEvent::Deleted(Deleted { instance_id, generation, outcome: end }))
            }
            ReportKind::InstanceRefused(trouble) => self.setback(instance, FailureReason::Refused(trouble.clone())),
            ReportKind::InstanceFailed(trouble) => self.setback(instance, FailureReason::Failed(trouble.clone())),
        }
    }

    fn observed(&self, instance: &Instance, observation: &Observation) -> Option<TenancyEvent> {
        let generation = self.report.generation;
        if instance.desired == DesiredState::Deleted
            || instance.last_observation().is_some_and(|seen| generation < seen.generation)
        {
            return None;
        }
        let known = instance
            .last_observation()
            .is_some_and(|seen| seen.generation == generation && seen.observation == *observation);
        let satisfies = instance.satisfied_by(generation, observation.phase);
        let settled = instance.progress == Progress::Stable;
        if known && (settled || !satisfies) {
            return None;
        }
        let unsettles = settled && !satisfies;
        let policy = &self.facts.policy;
        let within = if instance.desired == DesiredState::Stopped { policy.stop_within } else { policy.resume_within };
        Some(TenancyEvent::Observed(Observed {
            instance_id: self.report.instance_id,
            placement: self.report.placement,
            generation,
            observation: observation.clone(),
            report: self.position,
            deadline: unsettles.then(|| self.facts.now.after(within)),
        }))
    }

    /// A deletion can't be refused (its deadline ends it), and an old generation's trouble is over.
    fn setback(&self, instance: &Instance, reason: FailureReason) -> Option<TenancyEvent> {
        if instance.desired == DesiredState::Deleted || self.report.generation != instance.generation {
            return None;
        }
        let (instance_id, report) = (self.report.instance_id, Some(self.position));
        let setback = PlacementFailure { backend_id: self.backend_id, reason };
        if instance.last_observation().is_none() {
            return Some(retry::elsewhere(instance_id, instance, setback, report, &self.facts));
        }
        if instance.progress == (Progress::Failed { failure: setback.clone() }) {
            return None;
        }
        let generation = instance.generation;
        Some(TenancyEvent::Failed(Failed {
            instance_id,
            generation,
            failure: setback,
            abandons_placement: false,
            report,
        }))
    }
}
