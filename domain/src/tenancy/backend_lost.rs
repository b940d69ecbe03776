//! Places an instance on another backend after its backend was lost, unless it has a container: its files are on the
//! lost backend.

use std::convert::Infallible;

use super::event::{FailureReason, PlacementFailure, TenancyEvent};
use super::instance::Instance;
use super::policy::Facts;
use super::progress::Progress;
use super::{Tenancy, retry};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{BackendId, InstanceId};
use crate::wire::DesiredState;

/// Handle the loss of a backend.
#[derive(Debug, Clone)]
pub struct HandleBackendLost {
    /// The lost backend.
    pub backend_id: BackendId,
    /// An instance on it.
    pub instance_id: InstanceId,
    /// Includes the candidates for another placement.
    pub facts: Facts,
}

impl Command for HandleBackendLost {
    type Aggregate = Tenancy;
    type Rejection = Infallible;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, Infallible> {
        let awaits_container = |instance: &&Instance| {
            let here = instance.current_placement.as_ref().filter(|current| current.backend_id == self.backend_id);
            matches!(instance.progress, Progress::Pending { .. })
                && instance.desired != DesiredState::Deleted
                && here.is_some_and(|current| current.last_observation.is_none())
        };
        let failure = PlacementFailure { backend_id: self.backend_id, reason: FailureReason::Lost };
        Ok(state
            .instance(self.instance_id)
            .filter(awaits_container)
            .map(|instance| retry::place_again_or_fail(self.instance_id, instance, failure, None, &self.facts)))
    }
}
