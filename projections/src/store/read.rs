//! Reading documents. In: a typed question. Out: typed documents, or `Malformed` naming the one that isn't.

use bson::{Document as BsonDocument, doc};
use dockhost_domain::subject::AggregateId;
use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CollectionName, MongoStore, Shown, StoreError};
use crate::model::{Document, IdOf, ReadModel};

/// Documents per round trip of a scan.
const PAGE: i64 = 1000;

/// The JSON form of what is stored.
pub(super) fn json(document: BsonDocument) -> Result<Value, serde_json::Error> {
    bson::deserialize_from_document(document).map_err(serde::de::Error::custom)
}

pub(super) fn decode<T: DeserializeOwned>(collection: &str, document: BsonDocument) -> Result<T, StoreError> {
    let id =
        document.get("_id").map_or_else(String::new, |id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    json(document).and_then(serde_json::from_value).map_err(|source| StoreError::Malformed {
        collection: collection.to_owned(),
        id,
        source,
    })
}

impl MongoStore {
    /// The document with this id.
    pub(crate) async fn one<M: ReadModel>(&self, id: IdOf<M>) -> Result<Option<M::Document>, StoreError> {
        Ok(self.find::<M>(None, doc! { "_id": id.to_string() }, doc! {}).await?.found.pop())
    }

    /// The documents with these ids, in no order; those that don't exist are left out.
    pub(crate) async fn many<M: ReadModel>(&self, ids: &[IdOf<M>]) -> Result<Vec<M::Document>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Ok(self.find::<M>(None, doc! { "_id": { "$in": ids } }, doc! {}).await?.found)
    }

    /// The documents that a filter selects, which are all of one aggregate's, if one is given. Filters are written in `query.rs` files, of typed values only.
    pub(crate) async fn find<M: ReadModel>(
        &self,
        about: Option<AggregateId>,
        filter: BsonDocument,
        sort: BsonDocument,
    ) -> Result<Shown<Vec<M::Document>>, StoreError> {
        let Shown { found, stale_since } = self
            .ask::<M, _, _, _>(about.as_ref(), |name| {
                let (filter, sort) = (filter.clone(), sort.clone());
                async move { self.find_in(&name, filter, sort, 0).await }
            })
            .await?;
        let found = found.into_iter().map(|found| decode(M::NAME, found)).collect::<Result<_, _>>()?;
        Ok(Shown { found, stale_since })
    }

    /// The documents with these ids in this very collection, alias or not.
    pub(crate) async fn many_in<D: Document>(
        &self,
        collection: &CollectionName,
        ids: impl IntoIterator<Item = D::Id>,
    ) -> Result<Vec<D>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let found = self.find_in(collection, doc! { "_id": { "$in": ids } }, doc! {}, 0).await?;
        found.into_iter().map(|found| decode(collection.as_str(), found)).collect()
    }

    /// All documents of a collection in their JSON form, by id. Documents that come while it reads may be missed.
    pub(crate) async fn scan(&self, collection: &CollectionName) -> Result<Vec<Value>, StoreError> {
        let mut all = Vec::new();
        let mut after = doc! {};
        loop {
            let page = self.find_in(collection, after, doc! { "_id": 1 }, PAGE).await?;
            let Some(last) = page.last().and_then(|last| last.get("_id")).cloned() else { return Ok(all) };
            after = doc! { "_id": { "$gt": last } };
            for found in page {
                all.push(json(found).map_err(|source| StoreError::Malformed {
                    collection: collection.to_string(),
                    id: String::new(),
                    source,
                })?);
            }
        }
    }

    async fn find_in(
        &self,
        collection: &CollectionName,
        filter: BsonDocument,
        sort: BsonDocument,
        limit: i64,
    ) -> Result<Vec<BsonDocument>, StoreError> {
        let name = collection.as_str().to_owned();
        self.run(|database| async move {
            database.collection::<BsonDocument>(&name).find(filter).sort(sort).limit(limit).await?.try_collect().await
        })
        .await
    }
}
