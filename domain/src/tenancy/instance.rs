//! One instance: what is wanted of it, where it is, what was seen of it, and how far it is.
//!
//! In: the events that name it. Out: its state, and the status that the API shows. How far it is ([`Progress`]) is an
//! enum whose transient variant owns its deadline, so an instance cannot be in a transient state without one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{DeletionOutcome, PlacementFailure, ReportPosition, Requested, TenancyEvent};
use crate::aggregate::Meta;
use crate::ids::{BackendId, OperationId};
use crate::names::InstanceName;
use crate::personal::Personal;
use crate::timestamp::Timestamp;
use crate::wire::{DesiredState, Limits, Observation, Phase};

/// One on-demand machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its name.
    pub name: Personal<InstanceName>,
    /// The OpenSSH public key that may log in.
    pub ssh_public_key: Personal<String>,
    /// The image; the agent's own when absent.
    pub image: Option<String>,
    /// What its container may use.
    pub limits: Limits,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its user or its container last changed something.
    pub last_activity: Timestamp,
    /// What it should be.
    #[serde(rename = "wanted")]
    pub desired: DesiredState,
    /// Rises with each change of what is wanted.
    pub generation: u32,
    /// Rises when the container must be a new one.
    pub placement: u32,
    /// Where the current placement is; none once it was given up or is gone.
    #[serde(rename = "site")]
    pub current_placement: Option<Placement>,
    /// How far it is.
    pub progress: Progress,
    /// The placements that did not work out.
    #[serde(rename = "setbacks")]
    pub placement_failures: Vec<PlacementFailure>,
    /// Machines that may hold a container of a placement that was given up, with its number.
    #[serde(rename = "retired")]
    pub pending_removals: BTreeMap<BackendId, u32>,
    /// Where the last report stands that counted.
    pub last_report: Option<ReportPosition>,
}

/// Where a placement is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The machine.
    pub backend_id: BackendId,
    /// What its agent saw last; none until a container is known.
    #[serde(rename = "seen")]
    pub last_observation: Option<LastObservation>,
}

/// What an agent saw last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastObservation {
    /// The generation that it had acted on.
    pub generation: u32,
    /// The container.
    pub observation: Observation,
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Progress {
    /// On its way to what is wanted.
    Pending {
        /// What is being done.
        #[serde(rename = "step")]
        operation_kind: OperationKind,
        /// The operation that asked for it; none when the container left its state by itself.
        operation: Option<OperationId>,
        /// When this ends one way or the other.
        deadline: Timestamp,
    },
    /// As wanted.
    #[serde(rename = "settled")]
    Stable,
    /// Not as wanted, and nobody is working on it.
    Failed {
        /// What went wrong last.
        #[serde(rename = "setback")]
        failure: PlacementFailure,
    },
    /// Gone.
    Deleted {
        /// Since when.
        at: Timestamp,
    },
}

/// What is being done to an instance; also the kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Its first container is being made.
    Create,
    /// Its container is being stopped.
    Stop,
    /// Its container is being started.
    Resume,
    /// Its container is being removed.
    Delete,
}

/// What the API shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Can be logged into.
    Running,
    /// Being stopped.
    Stopping,
    /// Stopped; the files are kept.
    Stopped,
    /// Being started.
    Resuming,
    /// Being removed.
    Deleting,
    /// Gone.
    Deleted,
    /// Not as wanted; the reason stands beside it.
    Failed,
    /// Its machine is not heard, so its true state is unknown.
    Unreachable,
}

impl Status {
    /// Whether this state must end by a deadline.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Creating | Self::Stopping | Self::Resuming | Self::Deleting)
    }
}

impl Instance {
    /// The instance that a request begins.
    #[must_use]
    pub fn requested(requested: &Requested, meta: &Meta) -> Self {
        Self {
            name: requested.name.clone(),
            ssh_public_key: requested.ssh_public_key.clone(),
            image: requested.image.clone(),
            limits: requested.limits,
            created_at: meta.time,
            last_activity: meta.time,
            desired: DesiredState::Running,
            generation: 1,
            placement: 1,
            current_placement: Some(Placement { backend_id: requested.choice.backend_id, last_observation: None }),
            progress: Progress::Pending {
                operation_kind: OperationKind::Create,
                operation: Some(meta.id.into()),
                deadline: requested.deadline,
            },
            placement_failures: Vec::new(),
            pending_removals: BTreeMap::new(),
            last_report: None,
        }
    }

    /// Applies an event that names this instance.
    pub fn evolve(&mut self, event: &TenancyEvent, meta: &Meta) {
        match event {
            // Ids are never used twice; a fold is total all the same.
            TenancyEvent::Requested(requested) => *self = Self::requested(requested, meta),
            TenancyEvent::Placed(placed) => {
                self.queue_removal();
                self.pending_removals.remove(&placed.choice.backend_id);
                self.placement_failures.push(placed.failure.clone());
                self.placement = placed.placement;
                self.current_placement =
                    Some(Placement { backend_id: placed.choice.backend_id, last_observation: None });
                if let Progress::Pending { deadline, .. } = &mut self.progress {
                    *deadline = placed.deadline;
                }
            }
            TenancyEvent::Observed(observed) => {
                self.last_report = Some(observed.report);
                if let Some(site) = self.current_placement.as_mut().filter(|_| observed.placement == self.placement) {
                    let generation = observed.generation;
                    site.last_observation =
                        Some(LastObservation { generation, observation: observed.observation.clone() });
                    if self.satisfied_by(generation, observed.observation.phase) {
                        self.progress = Progress::Stable;
                        self.placement_failures.clear();
                    } else if let Some(deadline) = observed.deadline {
                        let step = if self.desired == DesiredState::Stopped {
                            OperationKind::Stop
                        } else {
                            OperationKind::Resume
                        };
                        self.progress = Progress::Pending { operation_kind: step, operation: None, deadline };
                    }
                }
            }
            TenancyEvent::StopRequested(e) => {
                self.begin_operation(DesiredState::Stopped, OperationKind::Stop, e.generation, e.deadline, meta)
            }
            TenancyEvent::ResumeRequested(e) => {
                self.begin_operation(DesiredState::Running, OperationKind::Resume, e.generation, e.deadline, meta);
            }
            TenancyEvent::DeleteRequested(e) => {
                self.begin_operation(DesiredState::Deleted, OperationKind::Delete, e.generation, e.deadline, meta);
            }
            TenancyEvent::Failed(failed) => {
                self.progress = Progress::Failed { failure: failed.failure.clone() };
                self.last_report = failed.report.or(self.last_report);
                if failed.abandons_placement {
                    self.queue_removal();
                }
            }
            TenancyEvent::Deleted(deleted) => {
                match deleted.outcome {
                    DeletionOutcome::Abandoned { .. } => self.queue_removal(),
                    DeletionOutcome::Confirmed { .. } | DeletionOutcome::Unplaced => self.current_placement = None,
                }
                self.desired = DesiredState::Deleted;
                self.generation = deleted.generation;
                self.progress = Progress::Deleted { at: meta.time };
            }
            TenancyEvent::Released(released) => {
                self.pending_removals.remove(&released.backend_id);
                return;
            }
            // About no instance.
            TenancyEvent::Closed(_) => return,
        }
        self.last_activity = meta.time;
    }

    fn begin_operation(
        &mut self,
        wanted: DesiredState,
        step: OperationKind,
        generation: u32,
        deadline: Timestamp,
        meta: &Meta,
    ) {
        self.desired = wanted;
        self.generation = generation;
        self.progress = Progress::Pending { operation_kind: step, operation: Some(meta.id.into()), deadline };
    }

    fn queue_removal(&mut self) {
        if let Some(site) = self.current_placement.take() {
            self.pending_removals.insert(site.backend_id, self.placement);
        }
    }

    /// Whether a container in this phase, after an agent acted on this generation, is what is wanted.
    #[must_use]
    pub fn satisfied_by(&self, generation: u32, phase: Phase) -> bool {
        generation == self.generation
            && matches!(
                (self.desired, phase),
                (DesiredState::Running, Phase::Running) | (DesiredState::Stopped, Phase::Stopped)
            )
    }

    /// What was seen last of the current placement.
    #[must_use]
    pub fn last_observation(&self) -> Option<&LastObservation> {
        self.current_placement.as_ref().and_then(|site| site.last_observation.as_ref())
    }

    /// Forgets what its user typed.
    pub fn erase_personal_values(&mut self) {
        self.name = Personal::Erased;
        self.ssh_public_key = Personal::Erased;
    }

    /// Whether it is gone.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        matches!(self.progress, Progress::Deleted { .. })
    }

    /// When the present state must end, if it is transient.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        if let Progress::Pending { deadline, .. } = self.progress { Some(deadline) } else { None }
    }

    /// What the API shows while the machine is heard.
    #[must_use]
    pub const fn status(&self) -> Status {
        match (&self.progress, self.desired) {
            (Progress::Pending { operation_kind: OperationKind::Create, .. }, _) => Status::Creating,
            (Progress::Pending { operation_kind: OperationKind::Stop, .. }, _) => Status::Stopping,
            (Progress::Pending { operation_kind: OperationKind::Resume, .. }, _) => Status::Resuming,
            (Progress::Pending { operation_kind: OperationKind::Delete, .. }, _) => Status::Deleting,
            (Progress::Stable, DesiredState::Running) => Status::Running,
            (Progress::Stable, DesiredState::Stopped) => Status::Stopped,
            (Progress::Stable, DesiredState::Deleted) | (Progress::Deleted { .. }, _) => Status::Deleted,
            (Progress::Failed { .. }, _) => Status::Failed,
        }
    }

    /// What the API shows, given whether its machine is heard: what should be running on a silent machine may not be.
    #[must_use]
    pub fn status_on(&self, backend_is_connected: bool) -> Status {
        match self.status() {
            Status::Running | Status::Stopped if !backend_is_connected => Status::Unreachable,
            status => status,
        }
    }
}
