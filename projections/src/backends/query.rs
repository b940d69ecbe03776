//! Queries of `backends`.

use bson::doc;
use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::AggregateId;

use super::{BackendDocument, Backends};
use crate::store::{MongoStore, Page, ReadResult, StoreError};

impl MongoStore {
    /// A page of all backends that are not removed, or of those of them that have one of these ids; the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backends(
        &self,
        ids: Option<&[BackendId]>,
        page: Page<BackendId>,
    ) -> Result<ReadResult<Vec<BackendDocument>>, StoreError> {
        let mut filter = doc! { "removedAt": null };
        if let Some(ids) = ids {
            filter.insert("_id", doc! { "$in": ids.iter().map(ToString::to_string).collect::<Vec<_>>() });
        }
        self.find_with::<Backends>(None, page.stages(filter)).await
    }

    /// One backend that is not removed; stale if it is quarantined.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backend(&self, id: BackendId) -> Result<ReadResult<Option<BackendDocument>>, StoreError> {
        let filter = doc! { "_id": id.to_string(), "removedAt": null };
        let found = self.find::<Backends>(Some(AggregateId::Backend(id)), filter, doc! {}).await?;
        Ok(found.map(|mut documents| documents.pop()))
    }
}
