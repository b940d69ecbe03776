//! The stay of an instance on one backend, and what was last observed there.

use serde::{Deserialize, Serialize};

use super::event::RecordedObservation;
use super::instance::Instance;
use super::progress::{OperationKind, Progress};
use crate::ids::BackendId;
use crate::wire::{DesiredState, Phase};

/// The stay of an instance on one backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The backend.
    pub backend_id: BackendId,
    /// The last observation; `None` until a container was observed.
    #[serde(rename = "seen")]
    pub last_observation: Option<LastObservation>,
}

/// The last observation of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastObservation {
    /// The generation that the agent had acted on.
    pub generation: u32,
    /// The observation.
    pub observation: RecordedObservation,
}

impl Instance {
    /// Ends the current placement. Its backend may still have a container of it.
    pub(super) fn abandon_placement(&mut self) {
        if let Some(placement) = self.current_placement.take() {
            self.pending_removals.insert(placement.backend_id, self.placement);
        }
    }

    /// Whether a container in this phase, after its agent acted on this generation, has the desired state.
    #[must_use]
    pub fn satisfied_by(&self, generation: u32, phase: Phase) -> bool {
        generation == self.generation
            && matches!(
                (self.desired, phase),
                (DesiredState::Running, Phase::Running) | (DesiredState::Stopped, Phase::Stopped)
            )
    }

    /// The last observation of the current placement.
    #[must_use]
    pub fn last_observation(&self) -> Option<&LastObservation> {
        self.current_placement.as_ref().and_then(|current| current.last_observation.as_ref())
    }

    /// Whether the current placement's container is known to have never run, so that it has no files. A report that it
    /// runs ends the creation, unless it is about no assignment (generation 0).
    #[must_use]
    pub fn never_ran(&self) -> bool {
        let is_being_created = matches!(self.progress, Progress::Pending { operation_kind: OperationKind::Create, .. });
        match self.last_observation() {
            None => true,
            Some(last) => is_being_created && last.observation.phase == Phase::Stopped,
        }
    }
}
