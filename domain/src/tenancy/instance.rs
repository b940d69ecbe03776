//! One instance: its desired state, its placement, the last observation, and its progress.
//!
//! The transitional variant of [`Progress`] contains the deadline, so every transitional state has one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::current_placement::{LastObservation, Placement};
use super::event::{
    Administered, ChangeRequested, DeletionOutcome, MovedBy, Observed, OnLost, PlacementFailure, ReportPosition,
    Requested, StopReason, TenancyEvent,
};
use super::lifetime::InstanceLifetime;
use super::moved::LastMove;
use super::progress::{OperationKind, Progress};
use crate::aggregate::Meta;
use crate::ids::BackendId;
use crate::labels::Labels;
use crate::names::InstanceName;
use crate::personal::Personal;
use crate::placement::Demand;
use crate::sizes::SizeName;
use crate::timestamp::Timestamp;
use crate::wire::{ContainerEnd, DesiredState, Limits, RestartPolicy};

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its name.
    pub name: Personal<InstanceName>,
    /// The OpenSSH public key of root that was requested first.
    pub ssh_public_key: Personal<String>,
    /// All keys of root, if others were requested or set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<InstanceKeys>,
    /// Its image; the agent's default if absent.
    pub image: Option<String>,
    /// Its resource limits.
    pub limits: Limits,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When its user or its container last changed it, or somebody was connected to it, as far as that was recorded.
    pub last_activity: Timestamp,
    /// Its desired state.
    #[serde(rename = "wanted")]
    pub desired: DesiredState,
    /// Rises with each change of the desired state.
    pub generation: u32,
    /// The number of the last placement; rises when a new container is needed.
    pub placement: u32,
    /// The current placement; `None` once it is abandoned or removed.
    #[serde(rename = "site")]
    pub current_placement: Option<Placement>,
    /// Its progress towards the desired state.
    pub progress: Progress,
    /// The failures of the placements since the last success.
    #[serde(rename = "setbacks", with = "super::failure::plain::list")]
    pub placement_failures: Vec<PlacementFailure>,
    /// The backends that may still have a container of an abandoned placement, with its number.
    #[serde(rename = "retired")]
    pub pending_removals: BTreeMap<BackendId, u32>,
    /// The position of the last report that was applied.
    pub last_report: Option<ReportPosition>,
    /// Why it was stopped, if its user did not request it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// If it was stopped because of its lifetime: what moved the moment of the stop last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_moved_by: Option<MovedBy>,
    /// The labels that its backend must have.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub requires: Labels,
    /// What happens when its container ends though it should run.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_default")]
    pub restart: RestartPolicy,
    /// The last time that its container ended without a request; `None` if it has not since the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<LastEnd>,
    /// The last change by an administrator since somebody else changed the desired state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administered: Option<AdministratorNote>,
    /// The size that was asked for by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeName>,
    /// What happens if its backend is lost.
    #[serde(default, skip_serializing_if = "OnLost::is_wait")]
    pub on_lost: OnLost,
    /// Its last move to another backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_move: Option<LastMove>,
    /// Until when it may run.
    #[serde(default, skip_serializing_if = "InstanceLifetime::is_default")]
    pub lifetime: InstanceLifetime,
}

/// The last time that a container ended although it should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastEnd {
    /// Why.
    pub cause: ContainerEnd,
    /// When that was recorded.
    pub at: Timestamp,
    /// How many times it has ended since the last request.
    pub count: u32,
}

/// A change by an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdministratorNote {
    /// When it was requested.
    pub at: Timestamp,
    /// The desired state from then on.
    pub wanted: DesiredState,
    /// What the owner is told.
    pub reason: Option<Personal<String>>,
}

/// The keys that may log in to an instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceKeys {
    /// Rises with each change since the request.
    pub version: u32,
    /// OpenSSH public keys.
    pub keys: Vec<Personal<String>>,
}

impl Instance {
    /// A new instance.
    #[must_use]
    pub fn requested(requested: &Requested, meta: &Meta) -> Self {
        Self {
            name: requested.name.clone(),
            ssh_public_key: requested.ssh_public_key.clone(),
            keys: (!requested.further_keys.is_empty()).then(|| InstanceKeys {
                version: 0,
                keys: [&requested.ssh_public_key].into_iter().chain(&requested.further_keys).cloned().collect(),
            }),
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
            stop_reason: None,
            stop_moved_by: None,
            restart: requested.restart,
            last_end: None,
            administered: None,
            requires: requested.requires.clone(),
            size: requested.size.clone(),
            on_lost: requested.on_lost,
            last_move: None,
            lifetime: InstanceLifetime::requested(requested.lifetime),
        }
    }

    /// What it needs of a backend.
    #[must_use]
    pub fn demand(&self) -> Demand {
        Demand { requires: self.requires.clone(), resources: self.limits.into() }
    }

    /// Applies an event of this instance.
    pub fn evolve(&mut self, event: &TenancyEvent, meta: &Meta) {
        self.record_use(event, meta);
        match event {
            // `decide` is never called with a used id, but a fold cannot fail.
            TenancyEvent::Requested(requested) => *self = Self::requested(requested, meta),
            TenancyEvent::Placed(placed) => {
                self.abandon_placement();
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
                self.record_end(observed, meta);
                if let Some(placement) =
                    self.current_placement.as_mut().filter(|_| observed.placement == self.placement)
                {
                    let generation = observed.generation;
                    placement.last_observation =
                        Some(LastObservation { generation, observation: observed.observation.clone() });
                    if self.satisfied_by(generation, observed.observation.phase) {
                        self.progress = Progress::Stable;
                        self.placement_failures.clear();
                    } else if let Some(deadline) = observed.deadline {
                        let operation_kind = if self.desired == DesiredState::Stopped {
                            OperationKind::Stop
                        } else {
                            OperationKind::Resume
                        };
                        self.progress = Progress::Pending { operation_kind, operation: None, deadline };
                    }
                }
            }
            TenancyEvent::Moved(moved) => {
                self.abandon_placement();
                self.pending_removals.remove(&moved.choice.backend_id);
                self.placement_failures.clear();
                (self.placement, self.generation) = (moved.placement, moved.generation);
                self.current_placement =
                    Some(Placement { backend_id: moved.choice.backend_id, last_observation: None });
                self.desired = DesiredState::Running;
                (self.stop_reason, self.stop_moved_by, self.last_end) = (None, None, None);
                self.last_move = Some(LastMove { from: moved.from, at: meta.time, reason: moved.reason });
                let operation_kind = OperationKind::Create;
                self.progress = Progress::Pending { operation_kind, operation: None, deadline: moved.deadline };
            }
            TenancyEvent::StopRequested(e) => {
                self.begin_operation(DesiredState::Stopped, OperationKind::Stop, e, meta);
            }
            TenancyEvent::ResumeRequested(e) => {
                self.begin_operation(DesiredState::Running, OperationKind::Resume, e, meta);
            }
            TenancyEvent::DeleteRequested(e) => {
                self.begin_operation(DesiredState::Deleted, OperationKind::Delete, e, meta);
            }
            TenancyEvent::Administered(e) => {
                let Administered { instance_id, wanted, generation, deadline, ref reason } = *e;
                let requested = ChangeRequested { instance_id, generation, deadline, reason: None, moved_by: None };
                self.begin_operation(wanted, OperationKind::towards(wanted), &requested, meta);
                self.administered = Some(AdministratorNote { at: meta.time, wanted, reason: reason.clone() });
            }
            TenancyEvent::KeysChanged(changed) => {
                let version = self.keys.as_ref().map_or(0, |keys| keys.version) + 1;
                self.keys = Some(InstanceKeys { version, keys: changed.keys.clone() });
            }
            TenancyEvent::SettingsChanged(changed) => {
                if let Some(name) = &changed.name {
                    self.name = name.clone();
                }
                self.on_lost = changed.on_lost;
                self.lifetime.change(changed.lifetime, meta);
                if let Some(by) = &changed.by_administrator {
                    let note = AdministratorNote { at: meta.time, wanted: self.desired, reason: by.reason.clone() };
                    self.administered = Some(note);
                }
            }
            TenancyEvent::Activity(activity) => {
                self.last_activity = self.last_activity.max(activity.at);
                return;
            }
            TenancyEvent::Failed(failed) => {
                self.progress = Progress::Failed { failure: failed.failure.clone() };
                self.last_report = failed.report.or(self.last_report);
                if failed.abandons_placement {
                    self.abandon_placement();
                }
            }
            TenancyEvent::Deleted(deleted) => {
                match deleted.outcome {
                    DeletionOutcome::Abandoned { .. } => self.abandon_placement(),
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
            // Concerns no single instance.
            TenancyEvent::Suspended(_)
            | TenancyEvent::Resumed(_)
            | TenancyEvent::QuotaSet(_)
            | TenancyEvent::Closed(_) => return,
        }
        self.last_activity = meta.time;
    }

    fn begin_operation(
        &mut self,
        desired: DesiredState,
        operation_kind: OperationKind,
        requested: &ChangeRequested,
        meta: &Meta,
    ) {
        self.desired = desired;
        self.generation = requested.generation;
        (self.stop_reason, self.stop_moved_by) = (requested.reason, requested.moved_by);
        self.last_end = None;
        self.administered = None;
        let (operation, deadline) = (Some(meta.id.into()), requested.deadline);
        self.progress = Progress::Pending { operation_kind, operation, deadline };
    }

    /// Records that the container ended, unless a request is under way: what is being resumed has ended before.
    fn record_end(&mut self, observed: &Observed, meta: &Meta) {
        let is_requested = matches!(self.progress, Progress::Pending { operation: Some(_), .. });
        if let Some(cause) = observed.observation.ended
            && !is_requested
        {
            let count = self.last_end.map_or(0, |last| last.count).saturating_add(1);
            self.last_end = Some(LastEnd { cause, at: meta.time, count });
        }
    }

    /// Removes the values that its user entered, and what backends said about it.
    pub fn erase_personal_values(&mut self) {
        self.name = Personal::Erased;
        self.ssh_public_key = Personal::Erased;
        for key in self.keys.iter_mut().flat_map(|keys| &mut keys.keys) {
            *key = Personal::Erased;
        }
        self.placement_failures.iter_mut().for_each(PlacementFailure::erase_personal_values);
        if let Some(reason) = self.administered.as_mut().and_then(|note| note.reason.as_mut()) {
            *reason = Personal::Erased;
        }
    }

    /// The OpenSSH public keys that may log in; none if they are erased.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.keys.as_ref().map_or(std::slice::from_ref(&self.ssh_public_key), |keys| keys.keys.as_slice());
        keys.iter().filter_map(|key| key.plain().map(String::as_str))
    }

    /// Whether it is deleted.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        matches!(self.progress, Progress::Deleted { .. })
    }

    /// The deadline of a transitional state.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        if let Progress::Pending { deadline, .. } = self.progress { Some(deadline) } else { None }
    }
}
