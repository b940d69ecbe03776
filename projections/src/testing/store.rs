//! Queries of tests.

use std::collections::BTreeMap;

use bson::{Document as BsonDocument, RawDocumentBuf, doc};
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use futures::TryStreamExt;
use serde_json::Value;

use crate::backends::{BackendDocument, Backends};
use crate::instances::{InstanceDocument, InstanceFilter, Instances, existing};
use crate::sessions::{SessionFilter, Sessions};
use crate::store::{CollectionName, MongoStore, StoreError, StoredModel, json};
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

    /// How many documents the database reads for [`MongoStore::instances_of`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn documents_read_for_instances_of(&self, owner: UserId) -> Result<Option<i64>, StoreError> {
        self.documents_read::<Instances>(doc! { "filter": existing(owner) }).await
    }

    /// How many documents the database reads for the first page of [`MongoStore::instances_of_all`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn documents_read_for_page_of_instances(
        &self,
        filter: &InstanceFilter,
        limit: u32,
    ) -> Result<Option<i64>, StoreError> {
        let page = doc! { "filter": filter.document(), "sort": { "_id": 1 }, "limit": i64::from(limit) + 1 };
        self.documents_read::<Instances>(page).await
    }

    /// How many documents the database reads for the first page of [`MongoStore::sessions_of_all`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn documents_read_for_page_of_sessions(
        &self,
        filter: &SessionFilter,
        limit: u32,
    ) -> Result<Option<i64>, StoreError> {
        let page = doc! { "filter": filter.document(), "sort": { "_id": -1 }, "limit": i64::from(limit) + 1 };
        self.documents_read::<Sessions>(page).await
    }

    async fn documents_read<M: StoredModel>(&self, query: BsonDocument) -> Result<Option<i64>, StoreError> {
        let mut find = doc! { "find": CollectionName::first(M::NAME).as_str() };
        find.extend(query);
        let explain = doc! { "explain": find, "verbosity": "executionStats" };
        let plan = self.run_bulk(|database| async move { database.run_command(explain).await }).await?;
        let read = plan.get_document("executionStats").ok().and_then(|stats| stats.get("totalDocsExamined"));
        Ok(read.and_then(|count| count.as_i64().or_else(|| count.as_i32().map(i64::from))))
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
