//! Ends the stay of an instance on a backend that was removed from the fleet.
//!
//! A deletion is complete, a creation continues on another backend, and an instance with files fails: they are gone. The
//! backend is still told to remove the container, in case it ever connects again.

use std::convert::Infallible;

use super::event::{Deleted, DeletionOutcome, Failed, FailureReason, PlacementFailure, TenancyEvent};
use super::policy::Facts;
use super::progress::Progress;
use super::{Tenancy, retry};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{BackendId, InstanceId};
use crate::wire::DesiredState;

/// Handle the removal of a backend.
#[derive(Debug, Clone)]
pub struct HandleBackendRemoved {
    /// The removed backend.
    pub backend_id: BackendId,
    /// An instance on it.
    pub instance_id: InstanceId,
    /// Includes the candidates for another placement.
    pub facts: Facts,
}

impl Command for HandleBackendRemoved {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        let (backend_id, instance_id) = (self.backend_id, self.instance_id);
        let Some(instance) = state.instance(instance_id) else { return Ok(None) };
        let Some(placement) = instance.current_placement.as_ref().filter(|here| here.backend_id == backend_id) else {
            return Ok(None);
        };
        let generation = instance.generation;
        let failure = PlacementFailure { backend_id, reason: FailureReason::Removed };
        let is_being_created = matches!(instance.progress, Progress::Pending { .. });
        Ok(Some(if instance.desired == DesiredState::Deleted {
            let outcome = DeletionOutcome::Abandoned { backend_id };
            TenancyEvent::Deleted(Deleted { instance_id, generation, outcome })
        } else if is_being_created && placement.last_observation.is_none() {
            retry::place_again_or_fail(instance_id, instance, failure, None, &self.facts)
        } else {
            TenancyEvent::Failed(Failed { instance_id, generation, failure, abandons_placement: true, report: None })
        }))
    }
}
