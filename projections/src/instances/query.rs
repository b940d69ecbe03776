//! Queries of `instances`. Every query names the owner, so it never returns another user's instance.

use bson::{Document as BsonDocument, doc};
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Status;

use super::{InstanceDocument, Instances};
use crate::store::{MongoStore, Page, ReadResult, StoreError};

/// An instance by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceRef {
    /// By its id.
    Id(InstanceId),
    /// By its name.
    Name(InstanceName),
}

/// Every status but `deleted`. With an index on the status, queries read the live documents only, however many deleted
/// ones there are; because they name the statuses, the index also gives all owners' documents in the order of their ids.
pub(crate) const LIVE: [Status; 8] = [
    Status::Creating,
    Status::Running,
    Status::Stopping,
    Status::Stopped,
    Status::Resuming,
    Status::Deleting,
    Status::Failed,
    Status::Unreachable,
];

/// Documents per page of [`MongoStore::live_instances_after`].
const LIVE_PER_PAGE: i64 = 1000;

pub(crate) fn live() -> BsonDocument {
    doc! { "$in": LIVE.map(Status::as_str).to_vec() }
}

/// The owner's instances that are not deleted.
fn existing(owner: UserId) -> BsonDocument {
    doc! { "userId": owner.to_string(), "status": live() }
}

impl MongoStore {
    /// The next instances of all owners that are not deleted, by their ids; empty at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_instances_after(&self, last: Option<InstanceId>) -> Result<Vec<InstanceDocument>, StoreError> {
        let mut filter = doc! { "status": live() };
        if let Some(last) = last {
            filter.insert("_id", doc! { "$gt": last.to_string() });
        }
        let stages = vec![doc! { "$match": filter }, doc! { "$sort": { "_id": 1 } }, doc! { "$limit": LIVE_PER_PAGE }];
        Ok(self.find_with::<Instances>(None, stages).await?.value)
    }

    /// The owner's instances that are not deleted, the oldest first; stale if the tenancy is quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances_of(&self, owner: UserId) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        let about = Some(AggregateId::Tenancy(owner));
        self.find::<Instances>(about, existing(owner), doc! { "createdAt": 1, "_id": 1 }).await
    }

    /// A page of the same, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page_of_instances(
        &self,
        owner: UserId,
        page: Page<InstanceId>,
    ) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        self.find_with::<Instances>(Some(AggregateId::Tenancy(owner)), page.stages(existing(owner))).await
    }

    /// The owner's instance of this id or name, unless it is deleted; stale if the tenancy is
    /// quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instance_of(
        &self,
        owner: UserId,
        instance: &InstanceRef,
    ) -> Result<ReadResult<Option<InstanceDocument>>, StoreError> {
        let mut filter = existing(owner);
        match instance {
            InstanceRef::Id(id) => filter.insert("_id", id.to_string()),
            InstanceRef::Name(name) => filter.insert("name", name.as_str()),
        };
        let found = self.find::<Instances>(Some(AggregateId::Tenancy(owner)), filter, doc! {}).await?;
        Ok(found.map(|mut documents| documents.pop()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All statuses; the compiler demands a new one here.
    fn all() -> Vec<Status> {
        let next = |status| match status {
            Status::Creating => Some(Status::Running),
            Status::Running => Some(Status::Stopping),
            Status::Stopping => Some(Status::Stopped),
            Status::Stopped => Some(Status::Resuming),
            Status::Resuming => Some(Status::Deleting),
            Status::Deleting => Some(Status::Deleted),
            Status::Deleted => Some(Status::Failed),
            Status::Failed => Some(Status::Unreachable),
            Status::Unreachable => None,
        };
        std::iter::successors(Some(Status::Creating), |status| next(*status)).collect()
    }

    #[test]
    fn live_is_every_status_but_deleted() {
        let expected: Vec<_> = all().into_iter().filter(|status| *status != Status::Deleted).collect();
        assert_eq!(LIVE.to_vec(), expected);
    }

    #[test]
    fn status_as_str_is_its_form_in_documents() {
        for status in all() {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
