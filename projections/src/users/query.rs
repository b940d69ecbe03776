//! What is asked of `users`.

use dockhost_domain::ids::UserId;

use super::{UserDocument, Users};
use crate::store::{MongoStore, StoreError};

impl MongoStore {
    /// One person.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: UserId) -> Result<Option<UserDocument>, StoreError> {
        self.one::<Users>(id).await
    }
}
