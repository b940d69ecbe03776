//! Creates indexes; lists and drops collections.

use bson::{Document as BsonDocument, doc};
use mongodb::IndexModel;

use super::schema::StoredModel;
use super::{CollectionName, MongoStore, StoreError};

impl MongoStore {
    /// Creates the missing indexes of a model's collection.
    pub(crate) async fn ensure_indexes<M: StoredModel>(&self, collection: &CollectionName) -> Result<(), StoreError> {
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

    /// The numbered collections of a model.
    pub(crate) async fn collections(&self, model: &str) -> Result<Vec<(u32, CollectionName)>, StoreError> {
        let names = self.collection_names().await?;
        let numbers = names.iter().filter_map(|name| CollectionName::number(model, name));
        Ok(numbers.map(|number| (number, CollectionName::numbered(model, number))).collect())
    }

    /// The collections that verifications of a model use or have left behind.
    pub(crate) async fn scratch_collections<M: StoredModel>(&self) -> Result<Vec<CollectionName>, StoreError> {
        let names = self.collection_names().await?;
        Ok(names.iter().filter_map(|name| CollectionName::as_scratch(M::NAME, name)).collect())
    }

    /// The names of all collections, without views and what the database keeps of these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn collection_names(&self) -> Result<Vec<String>, StoreError> {
        let is_collection = doc! { "type": "collection", "name": { "$not": { "$regex": "^system\\." } } };
        self.run_bulk(|database| async move { database.list_collection_names().filter(is_collection).await }).await
    }

    /// Drops a collection, if it exists.
    pub(crate) async fn drop_collection(&self, collection: &CollectionName) -> Result<(), StoreError> {
        let name = collection.as_str().to_owned();
        self.run_bulk(|database| async move { database.collection::<BsonDocument>(&name).drop().await }).await
    }
}
