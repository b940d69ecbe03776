//! The tenancy: all instances of one user in one aggregate, because the quota, unique names and idempotency keys
//! concern all of them.
//!
//! Deleted instances, ended operations and idempotency keys are removed after [`RETENTION`] of event time, so that the
//! state stays small.

mod activity;
mod administer;
mod assignments;
mod backend_lost;
mod backend_removed;
mod change;
mod close;
mod current_placement;
mod deadline;
mod drain;
pub mod event;
mod failure;
mod group_ended;
mod instance;
mod invariants;
mod keys;
mod lifetime;
mod moved;
mod operation;
mod policy;
mod progress;
mod quota;
mod recorded;
mod relocate;
mod report;
mod request;
mod retry;
mod settings;
mod stop;
mod suspend;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{InstanceId, OperationId, UserId};
use crate::names::InstanceName;
use crate::quota::{Quota, QuotaUse};
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use administer::{AdministerInstance, AdministerSettings};
pub use assignments::desired_assignments;
pub use backend_lost::HandleBackendLost;
pub use backend_removed::HandleBackendRemoved;
pub use change::{ChangeInstance, ChangeRejected};
pub use close::CloseTenancy;
pub use current_placement::{LastObservation, Placement};
pub use deadline::{DeadlineRejected, HandleDeadline};
pub use drain::{DrainStep, StopForDrain};
pub use event::{Idempotency, OnLost, ReportPosition, TenancyEvent};
pub use group_ended::StopForGroup;
pub use instance::{AdministratorNote, Instance, InstanceKeys, LastEnd};
pub use invariants::check_invariants;
pub use keys::{KeysRejected, MAX_INSTANCE_KEYS, RemoveInstanceKey, SetInstanceKeys};
pub use lifetime::{EndLifetime, Fact, InstanceLifetime, Lifetime, MovedBy, SshSeen, StopsAt};
pub use moved::LastMove;
pub use operation::{Operation, Outcome};
pub use policy::{Facts, Policy};
pub use progress::{OperationKind, Progress, Status};
pub use quota::{SetQuota, TenancyClosed};
pub use relocate::{MoveInstance, MoveRejected, Occasion};
pub use report::{HandleReport, ReportRejected};
pub use request::{RequestInstance, RequestRejected};
pub use settings::{ChangeSettings, SettingsRejected};
pub use stop::StopReason;
pub use suspend::{ResumeTenancy, SuspendTenancy};

/// How long deleted instances, ended operations and idempotency keys are retained, in event time.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// All instances of one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenancy {
    instances: BTreeMap<InstanceId, Instance>,
    operations: BTreeMap<OperationId, Operation>,
    #[serde(rename = "keys")]
    idempotency_keys: BTreeMap<String, IdempotencyRecord>,
    #[serde(rename = "fading")]
    retention_queue: VecDeque<(Timestamp, RetentionEntry)>,
    closed: bool,
    #[serde(default)]
    suspended: bool,
    #[serde(default)]
    quota: Quota,
}

/// What an `Idempotency-Key` was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyRecord {
    /// Hex of a keyed hash of the request's body.
    pub request: String,
    /// The instance that it created.
    pub instance_id: InstanceId,
    /// The operation that it began.
    pub operation_id: OperationId,
}

/// An entry of the retention queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RetentionEntry {
    Instance(InstanceId),
    Operation(OperationId),
    Key(String),
}

impl Tenancy {
    /// An instance, also a deleted one that is retained.
    #[must_use]
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(&id)
    }

    /// The instance with this name that is not deleted.
    #[must_use]
    pub fn find_by_name(&self, name: &InstanceName) -> Option<InstanceId> {
        self.existing().find(|(_, instance)| instance.name.plain() == Some(name)).map(|(id, _)| id)
    }

    /// All instances that are not deleted.
    pub fn existing(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.all().filter(|(_, instance)| !instance.is_deleted())
    }

    /// All instances, also the deleted ones that are retained.
    pub fn all(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.instances.iter().map(|(id, instance)| (*id, instance))
    }

    /// Whether the tenancy accepts no new instance.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether no instance may be created or resumed, because the account is disabled.
    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// What an administrator set for the user.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// What counts for a quota: the instances that are not deleted, also stopped ones.
    #[must_use]
    pub fn quota_use(&self) -> QuotaUse {
        self.existing().fold(QuotaUse::default(), |used, (_, instance)| used.and(instance.limits.into()))
    }

    /// An operation, while it is retained.
    #[must_use]
    pub fn operation(&self, id: OperationId) -> Option<&Operation> {
        self.operations.get(&id)
    }

    /// What an `Idempotency-Key` was used for, by the hash of the key.
    #[must_use]
    pub fn idempotency_record(&self, key: &str) -> Option<&IdempotencyRecord> {
        self.idempotency_keys.get(key)
    }

    fn evolve_instance(&mut self, event: &TenancyEvent, meta: &Meta) {
        let Some(id) = event.instance_id() else { return };
        let before = self.instances.get(&id).map(|instance| instance.progress.clone());
        if let TenancyEvent::Requested(requested) = event {
            self.instances.insert(id, Instance::requested(requested, meta));
            if let Some(idempotency) = &requested.idempotency {
                let operation_id = meta.id.into();
                let request = idempotency.request.clone();
                self.idempotency_keys
                    .insert(idempotency.key.clone(), IdempotencyRecord { request, instance_id: id, operation_id });
                self.retention_queue.push_back((meta.time, RetentionEntry::Key(idempotency.key.clone())));
            }
        } else if let Some(instance) = self.instances.get_mut(&id) {
            instance.evolve(event, meta);
        }
        let Some(instance) = self.instances.get(&id) else { return };
        if instance.is_deleted() && !matches!(before, Some(Progress::Deleted { .. })) {
            self.retention_queue.push_back((meta.time, RetentionEntry::Instance(id)));
        }
        if let Some(id) = operation::advance(&mut self.operations, id, before.as_ref(), instance, meta) {
            self.retention_queue.push_back((meta.time, RetentionEntry::Operation(id)));
        }
    }

    /// Removes what is older than [`RETENTION`]. Entries still in use are queued again.
    fn apply_retention(&mut self, now: Timestamp) {
        while let Some((since, _)) = self.retention_queue.front()
            && since.after(RETENTION) < now
            && let Some((_, entry)) = self.retention_queue.pop_front()
        {
            let keep = match &entry {
                RetentionEntry::Instance(id) => {
                    self.instances.get(id).is_some_and(|instance| !instance.pending_removals.is_empty())
                }
                RetentionEntry::Operation(id) => self.operations.get(id).is_some_and(|o| o.outcome == Outcome::Pending),
                RetentionEntry::Key(_) => false,
            };
            match entry {
                entry if keep => self.retention_queue.push_back((now, entry)),
                RetentionEntry::Instance(id) => drop(self.instances.remove(&id)),
                RetentionEntry::Operation(id) => drop(self.operations.remove(&id)),
                RetentionEntry::Key(key) => drop(self.idempotency_keys.remove(&key)),
            }
        }
    }
}

impl Aggregate for Tenancy {
    type Id = UserId;
    type Event = TenancyEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "3f89ca39dcd2db5edf2fdf51125088565d25c3715fdbc14d775b47fa4b9629f8",
        "042bc5b8d1875f2dd0b2035fb7e60dca6d29dadd3b67919fdfa774a4c4b53937",
        "33d5ddebc1776392c93a3e4e6315ca4d58cc0d5a5e622e3cd1f15cfb79d3a30b",
        "70946a39833c65a790e15878253e4100e1c2d6726a7102d3f954997daec08539",
        "8f0360c480f8f213b1771114719c5e2ef28cd9c6bf13de982a6e293e14214f2a",
        "cf5869d6b1ce12a6c5999a81f93723dd81d009ea9b5b03670b7023c77676be96",
        "1589db6ede7b9fa929c2cb3335be280f933272c4f8d3c718eba3a53ac81244be",
        "9ccd3a7c209f80b8c6d08b3da2f3f0ad3435e6ef33813bc4160cca473ed35dd3",
        "b65eec3413ecdc5fd9abeaa4f8b3a46a0aa3b04ee66c114a02f6dd178d29d647",
        "9cc81e05084698e1b8a8c58ba3ea2216e1d7c66c01e370cdfd39bb5ebe73d50a",
        "454ab128bcbf12de5905bc14d307e1cada3c9314d676e215bf7972e5e32f6e56",
    ];

    fn subject(id: UserId) -> AggregateId {
        AggregateId::Tenancy(id)
    }

    fn event(event: &Event) -> Option<&TenancyEvent> {
        if let Event::Tenancy(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &TenancyEvent, meta: &Meta) {
        self.evolve_instance(event, meta);
        self.closed |= matches!(event, TenancyEvent::Closed(_));
        match event {
            TenancyEvent::Suspended(_) => self.suspended = true,
            TenancyEvent::Resumed(_) => self.suspended = false,
            TenancyEvent::QuotaSet(quota) => self.quota = *quota,
            _ => {}
        }
        if self.closed {
            // Until their containers are removed, other instances still need their personal values.
            self.instances
                .values_mut()
                .filter(|instance| instance.is_deleted())
                .for_each(Instance::erase_personal_values);
        }
        self.apply_retention(meta.time);
    }
}
