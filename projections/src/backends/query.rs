//! What is asked of `backends`.

use bson::doc;
use dockhost_domain::ids::BackendId;

use super::{BackendDocument, Backends};
use crate::store::{MongoStore, StoreError};

impl MongoStore {
    /// One machine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backend(&self, id: BackendId) -> Result<Option<BackendDocument>, StoreError> {
        self.one::<Backends>(id).await
    }

    /// These machines, in no order; what is joined to a list of instances.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backends(&self, ids: &[BackendId]) -> Result<Vec<BackendDocument>, StoreError> {
        self.many::<Backends>(ids).await
    }

    /// All machines, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_backends(&self) -> Result<Vec<BackendDocument>, StoreError> {
        self.find::<Backends>(doc! {}, doc! { "enrolledAt": 1, "_id": 1 }).await
    }
}
