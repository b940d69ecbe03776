//! Queries of tests.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use futures::TryStreamExt;
use serde_json::Value;

use crate::backends::{BackendDocument, Backends};
use crate::instances::{InstanceDocument, Instances};
use crate::store::{MongoStore, StoreError, json};
use crate::users::{UserDocument, Users};

impl MongoStore {
    /// One user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, id: UserId) -> Result<Option<UserDocument>, StoreError> {
        Ok(self.find::<Users>(None, doc! { "_id": id.to_string() }, doc! {}).await?.value.pop())
    }

    /// All backends, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_backends(&self) -> Result<Vec<BackendDocument>, StoreError> {
        Ok(self.find::<Backends>(None, doc! {}, doc! { "enrolledAt": 1, "_id": 1 }).await?.value)
    }

    /// The instances whose deadline is before `moment` (RFC 3339 text sorts like time).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn overdue_instances(&self, moment: Timestamp) -> Result<Vec<InstanceDocument>, StoreError> {
        let filter = doc! { "deadline": { "$lt": moment.to_string() } };
        Ok(self.find::<Instances>(None, filter, doc! { "deadline": 1, "_id": 1 }).await?.value)
    }

    /// Every document of every collection in its JSON form, or as the text of its bytes if it has none (a snapshot).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn everything(&self) -> Result<BTreeMap<String, Vec<Value>>, StoreError> {
        let mut all = BTreeMap::new();
        for name in self.collection_names().await? {
            let collection = name.clone();
            let found: Vec<RawDocumentBuf> = self
                .run_bulk(|database| async move {
                    database.collection::<RawDocumentBuf>(&collection).find(doc! {}).await?.try_collect().await
                })
                .await?;
            let text = |document: &RawDocumentBuf| String::from_utf8_lossy(document.as_bytes()).into_owned().into();
            let form = |document| json(document).unwrap_or_else(|_| text(document));
            all.insert(name, found.iter().map(form).collect());
        }
        Ok(all)
    }
}
