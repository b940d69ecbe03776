//! Indexes and collections as a whole. In: a model. Out: its collection has the indexes that its queries need.

use bson::Document as BsonDocument;
use mongodb::IndexModel;

use super::{CollectionName, MongoStore, StoreError};
use crate::model::ReadModel;

impl MongoStore {
    /// Makes the indexes of a model's collection; those that exist are left alone.
    pub(crate) async fn ensure_indexes<M: ReadModel>(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let indexes: Vec<IndexModel> = M::INDEXES
            .iter()
            .map(|members| {
                let keys = members.iter().map(|member| ((*member).to_owned(), bson::Bson::Int32(1)));
                IndexModel::builder().keys(keys.collect::<BsonDocument>()).build()
            })
            .collect();
        if indexes.is_empty() {
            return Ok(());
        }
        let name = collection.as_str().to_owned();
        self.run_bulk(
            |database| async move { database.collection::<BsonDocument>(&name).create_indexes(indexes).await },
        )
        .await?;
        Ok(())
    }

    /// The collections of a model, with their numbers.
    pub(crate) async fn collections<M: ReadModel>(&self) -> Result<Vec<(u32, CollectionName)>, StoreError> {
        let names = self.collection_names().await?;
        let numbers = names.iter().filter_map(|name| CollectionName::number(M::NAME, name));
        Ok(numbers.map(|number| (number, CollectionName::numbered(M::NAME, number))).collect())
    }

    /// What comparisons of a model have left behind, or are at.
    pub(crate) async fn scratch_collections<M: ReadModel>(&self) -> Result<Vec<CollectionName>, StoreError> {
        let names = self.collection_names().await?;
        Ok(names.iter().filter_map(|name| CollectionName::as_scratch(M::NAME, name)).collect())
    }

    /// The collections that there are: the models', what rebuilds and verifications are at or have left, checkpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn collection_names(&self) -> Result<Vec<String>, StoreError> {
        self.run_bulk(|database| async move { database.list_collection_names().await }).await
    }

    /// Drops a collection; fine if it isn't there.
    pub(crate) async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let name = collection.as_str().to_owned();
        self.run_bulk(|database| async move { database.collection::<BsonDocument>(&name).drop().await }).await
    }
}
