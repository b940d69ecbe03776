//! Queries of the instances of all users, for administrators.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document as BsonDocument, doc};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::tenancy::Status;
use dockhost_domain::tenancy::event::MoveReason;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Limits;
use serde::Deserialize;

use super::query::live;
use super::{InstanceDocument, Instances};
use crate::store::{MongoStore, Page, ReadResult, StoreError};

/// Which of the instances that are not deleted a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Their id.
    pub id: Option<InstanceId>,
    /// Their owner.
    pub owner: Option<UserId>,
    /// Their owner is one of these.
    pub owners: Option<Vec<UserId>>,
    /// Their backend.
    pub backend: Option<BackendId>,
    /// Their status.
    pub status: Option<StatusNow>,
    /// They were requested before this time.
    pub created_before: Option<Timestamp>,
    /// Their name begins with this text.
    pub name_prefix: Option<String>,
    /// The operation that they are in the middle of should have ended before this time.
    pub deadline_before: Option<Timestamp>,
    /// The backend from which a drain moved them last, at this time or later.
    pub drained_from: Option<(BackendId, Timestamp)>,
}

/// The status now. A document has the status while its backend can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusNow {
    /// The status.
    pub status: Status,
    /// The backends that can be reached now.
    pub reachable: Vec<BackendId>,
}

/// Those that are unreachable while their backend is.
const UNREACHABLE_WITH_BACKEND: [Status; 2] = [Status::Running, Status::Stopped];

/// By how much a time of the log and the time in an id may differ at most: they are of clocks that may be wrong.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(24 * 3600);

impl StatusNow {
    fn condition(&self) -> BsonDocument {
        let reachable: Vec<String> = self.reachable.iter().map(ToString::to_string).collect();
        match self.status {
            Status::Unreachable => doc! {
                "status": { "$in": UNREACHABLE_WITH_BACKEND.map(Status::as_str).to_vec() },
                // They have a backend. Deleted ones have none: with `$gte`, the index leads to none of them.
                "backendId": { "$gte": "", "$nin": reachable },
            },
            status if UNREACHABLE_WITH_BACKEND.contains(&status) => {
                doc! { "status": status.as_str(), "backendId": { "$in": reachable } }
            }
            status => doc! { "status": status.as_str() },
        }
    }

    fn selects(&self, instance: &InstanceDocument) -> bool {
        let is_reachable = instance.backend_id.is_some_and(|id| self.reachable.contains(&id));
        instance.state.status_on(is_reachable) == self.status
    }
}

impl InstanceFilter {
    fn document(&self) -> BsonDocument {
        let status = self.status.as_ref().map_or_else(|| doc! { "status": live() }, StatusNow::condition);
        let mut all = vec![status];
        if let Some(id) = self.id {
            all.push(doc! { "_id": id.to_string() });
        }
        if let Some(owner) = self.owner {
            all.push(doc! { "userId": owner.to_string() });
        }
        if let Some(owners) = &self.owners {
            let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
            all.push(doc! { "userId": { "$in": owners } });
        }
        if let Some(backend) = self.backend {
            all.push(doc! { "backendId": backend.to_string() });
        }
        if let Some(time) = self.created_before {
            all.push(doc! { "createdAt": { "$lt": time.to_string() } });
            // The list is in the order of the ids, which is the order of creation: it ends there.
            let later = InstanceId::lowest_at(time.after(MAX_CLOCK_DIFFERENCE));
            all.push(doc! { "_id": { "$lt": later.to_string() } });
        }
        if let Some(prefix) = &self.name_prefix {
            // All texts that begin with it, by an index.
            all.push(doc! { "name": { "$gte": prefix.as_str(), "$lt": format!("{prefix}{}", char::MAX) } });
        }
        if let Some(time) = self.deadline_before {
            all.push(doc! { "deadline": { "$lt": time.to_string() } });
        }
        if let Some((backend, since)) = self.drained_from {
            all.push(doc! {
                "state.lastMove.from": backend.to_string(),
                "state.lastMove.reason": "backend-drained",
                // Timestamps are texts of one length.
                "state.lastMove.at": { "$gte": since.to_string() },
            });
        }
        doc! { "$and": all }
    }

    /// Whether an instance is one of them; as the query selects.
    #[must_use]
    pub fn selects(&self, instance: &InstanceDocument) -> bool {
        !instance.state.is_deleted()
            && self.id.is_none_or(|id| instance.instance_id == id)
            && self.owner.is_none_or(|owner| instance.user_id == owner)
            && self.owners.as_ref().is_none_or(|owners| owners.contains(&instance.user_id))
            && self.backend.is_none_or(|backend| instance.backend_id == Some(backend))
            && self.status.as_ref().is_none_or(|status| status.selects(instance))
            && self.created_before.is_none_or(|time| instance.created_at < time)
            && self
                .name_prefix
                .as_ref()
                .is_none_or(|prefix| instance.name.as_ref().is_some_and(|name| name.as_str().starts_with(prefix)))
            && self.deadline_before.is_none_or(|time| instance.deadline.is_some_and(|deadline| deadline < time))
            && self.drained_from.is_none_or(|(backend, since)| {
                instance.state.last_move.is_some_and(|last| {
                    last.from == backend && last.reason == MoveReason::BackendDrained && last.at >= since
                })
            })
    }
}

/// What instances are summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumBy {
    /// Their owner.
    Owner,
    /// Their backend.
    Backend,
}

impl SumBy {
    const fn member(self) -> &'static str {
        match self {
            Self::Owner => "userId",
            Self::Backend => "backendId",
        }
    }
}

/// Instances that are not deleted, and what they may use in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSums {
    /// Their number.
    pub instances: u64,
    /// Their processor time in thousandths of a processor.
    pub cpu_millis: u64,
    /// Their memory in MiB.
    pub memory_mib: u64,
}

impl InstanceSums {
    /// With one more instance of these limits.
    #[must_use]
    pub fn and(self, limits: Limits) -> Self {
        Self {
            instances: self.instances + 1,
            cpu_millis: self.cpu_millis + u64::from(limits.cpu_millis),
            memory_mib: self.memory_mib + u64::from(limits.memory_mib),
        }
    }
}

/// The sums of one owner or backend.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    #[serde(flatten)]
    sums: InstanceSums,
}

impl MongoStore {
    /// An instance of any user, deleted or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instance(&self, id: InstanceId) -> Result<ReadResult<Option<InstanceDocument>>, StoreError> {
        let found = self.find::<Instances>(None, doc! { "_id": id.to_string() }, doc! {}).await?;
        Ok(found.map(|mut documents| documents.pop()))
    }

    /// A page of the instances of all users that a filter selects, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances_of_all(
        &self,
        filter: &InstanceFilter,
        page: Page<InstanceId>,
    ) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        self.find_with::<Instances>(None, page.stages(filter.document())).await
    }

    /// The instances of these owners that are to run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances_to_run_of(
        &self,
        owners: &[UserId],
    ) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
        let filter = doc! { "userId": { "$in": owners }, "status": live(), "wanted": "running" };
        self.find::<Instances>(None, filter, doc! {}).await
    }

    /// The instances that are to run and may have to stop: the time that their owners set for them is over, or they set an autostop.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances_to_end(&self, now: Timestamp) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        // Timestamps are texts of one length.
        let expired = doc! { "expiresAt": { "$lte": now.to_string() } };
        let autostop = doc! { "autostopMinutes": { "$gt": 0 } };
        let filter = doc! { "$or": [expired, autostop], "status": live(), "wanted": "running" };
        self.find::<Instances>(None, filter, doc! {}).await
    }

    /// How many instances that are not deleted belong to each of these owners or backends, by the text of its id, and what they
    /// may use in all; those without any are absent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instance_sums(
        &self,
        by: SumBy,
        ids: &[String],
    ) -> Result<ReadResult<BTreeMap<String, InstanceSums>>, StoreError> {
        let member = by.member();
        let filter = doc! { member: { "$in": ids.to_vec() }, "status": live() };
        let group = doc! {
            "_id": format!("${member}"),
            "instances": { "$sum": 1 },
            "cpuMillis": { "$sum": "$state.limits.cpuMillis" },
            "memoryMib": { "$sum": "$state.limits.memoryMib" },
        };
        let stages = vec![doc! { "$match": filter }, doc! { "$group": group }];
        let found = self.rows_with::<Instances, Row>(None, stages).await?;
        Ok(found.map(|rows| rows.into_iter().map(|row| (row.id, row.sums)).collect()))
    }
}
