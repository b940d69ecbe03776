//! Queries of `instances`. Every query names the owner, so it never returns another user's instance.

use bson::{Document as BsonDocument, doc};
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::names::InstanceName;
use dockhost_domain::subject::AggregateId;

use super::{InstanceDocument, Instances};
use crate::store::{MongoStore, ReadResult, StoreError};

/// An instance by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceRef {
    /// By its id.
    Id(InstanceId),
    /// By its name.
    Name(InstanceName),
}

fn existing(owner: UserId) -> BsonDocument {
    doc! { "userId": owner.to_string(), "status": { "$ne": "deleted" } }
}

impl MongoStore {
    /// The owner's instances that are not deleted, the oldest first; stale if the tenancy is quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn instances_of(&self, owner: UserId) -> Result<ReadResult<Vec<InstanceDocument>>, StoreError> {
        let about = Some(AggregateId::Tenancy(owner));
        self.find::<Instances>(about, existing(owner), doc! { "createdAt": 1, "_id": 1 }).await
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
        let mut shown = self.find::<Instances>(Some(AggregateId::Tenancy(owner)), filter, doc! {}).await?;
        Ok(ReadResult { value: shown.value.pop(), stale_since: shown.stale_since })
    }
}
