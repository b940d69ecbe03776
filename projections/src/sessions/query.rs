//! What is asked of `sessions`.

use bson::doc;
use dockhost_domain::ids::PrincipalId;

use super::{SessionDocument, Sessions};
use crate::store::{MongoStore, StoreError};

impl MongoStore {
    /// All sessions of a principal, ended ones included, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions_of(&self, principal: PrincipalId) -> Result<Vec<SessionDocument>, StoreError> {
        self.find::<Sessions>(doc! { "principalId": principal.to_string() }, doc! { "startedAt": 1, "_id": 1 }).await
    }
}
