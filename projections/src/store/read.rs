//! Reading documents. In: a typed question. Out: typed documents, or `Malformed` naming the one that isn't.

use std::collections::BTreeMap;

use bson::{Document as BsonDocument, RawDocumentBuf, doc};
use dockhost_domain::subject::AggregateId;
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use mongodb::options::{FindOptions, Hint};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{CollectionName, MongoStore, ReadResult, StoreError};
use crate::model::{Document, IdOf, ReadModel};

/// Documents per round trip of a scan.
const DOCUMENTS_PER_PAGE: i64 = 1000;
/// Pages that a scan reads ahead.
const PAGES_READ_AHEAD: usize = 2;

/// The JSON form of what is stored.
pub(crate) fn json(document: &RawDocumentBuf) -> Result<Value, serde_json::Error> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(serde::de::Error::custom)
}

pub(super) fn decode<T: DeserializeOwned>(collection: &str, document: &RawDocumentBuf) -> Result<T, StoreError> {
    json(document).and_then(serde_json::from_value).map_err(|source| malformed(collection, document, source))
}

pub(crate) fn malformed(collection: &str, document: &RawDocumentBuf, source: serde_json::Error) -> StoreError {
    let id = document.get("_id").ok().flatten();
    let text = id.map(|id| id.as_str().map_or_else(|| format!("{id:?}"), str::to_owned));
    StoreError::Malformed { collection: collection.to_owned(), id: text.unwrap_or_default(), source }
}

impl MongoStore {
    /// The document with this id.
    pub(crate) async fn one<M: ReadModel>(&self, id: IdOf<M>) -> Result<Option<M::Document>, StoreError> {
        Ok(self.find::<M>(None, doc! { "_id": id.to_string() }, doc! {}).await?.value.pop())
    }

    /// The documents with these ids, in no order; those that don't exist are left out.
    pub(crate) async fn many<M: ReadModel>(&self, ids: &[IdOf<M>]) -> Result<Vec<M::Document>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        Ok(self.find::<M>(None, doc! { "_id": { "$in": ids } }, doc! {}).await?.value)
    }

    /// The documents that a filter selects, which are all of one aggregate's, if one is given. Filters are written in `query.rs` files, of typed values only.
    pub(crate) async fn find<M: ReadModel>(
        &self,
        about: Option<AggregateId>,
        filter: BsonDocument,
        sort: BsonDocument,
    ) -> Result<ReadResult<Vec<M::Document>>, StoreError> {
        let ReadResult { value, stale_since } = self
            .query::<M, _, _, _>(about.as_ref(), |name| {
                let (filter, sort) = (filter.clone(), sort.clone());
                let options = FindOptions::builder().sort(sort).build();
                async move { self.find_in(&name, filter, options).await }
            })
            .await?;
        let value = value.iter().map(|document| decode(M::NAME, document)).collect::<Result<_, _>>()?;
        Ok(ReadResult { value, stale_since })
    }

    /// The documents with these ids in this very collection, alias or not.
    pub(crate) async fn many_in<D: Document>(
        &self,
        collection: &CollectionName,
        ids: impl IntoIterator<Item = D::Id>,
    ) -> Result<Vec<D>, StoreError> {
        let found = self.stored_in(collection, ids).await?;
        Ok(found.into_iter().map(|(document, _)| document).collect())
    }

    /// The same, with the form in which each is stored.
    pub(crate) async fn stored_in<D: Document>(
        &self,
        collection: &CollectionName,
        ids: impl IntoIterator<Item = D::Id>,
    ) -> Result<Vec<(D, RawDocumentBuf)>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let found = self.find_in(collection, doc! { "_id": { "$in": ids } }, FindOptions::default()).await?;
        found.into_iter().map(|found| Ok((decode(collection.as_str(), &found)?, found))).collect()
    }

    /// All documents of a collection as they are stored, by id, some pages ahead of whoever reads them. Documents that
    /// come while it reads may be missed.
    pub(crate) fn pages(
        &self,
        collection: &CollectionName,
    ) -> BoxStream<'static, Result<Vec<RawDocumentBuf>, StoreError>> {
        let (pages, read) = mpsc::channel(PAGES_READ_AHEAD);
        let (store, collection) = (self.clone(), collection.clone());
        // A task of its own, which ends when nobody reads on.
        tokio::spawn(async move {
            let mut options = FindOptions::builder().sort(doc! { "_id": 1 }).limit(DOCUMENTS_PER_PAGE).build();
            loop {
                let page = store.find_in(&collection, doc! {}, options.clone()).await;
                // The page begins with the last one of the page before. `min` and not a filter: a filter would not go on
                // from an id of one type to those of another.
                let again = options.min.as_ref().and_then(|min| min.get("_id"));
                let page = page.map(|page| {
                    let known = |document: &RawDocumentBuf| again.is_some() && id_in(document).as_ref() == again;
                    let skip = usize::from(page.first().is_some_and(known));
                    page.into_iter().skip(skip).collect::<Vec<_>>()
                });
                let last = page.as_ref().ok().and_then(|page| page.last()).and_then(id_in);
                if last.is_none() && page.is_ok() || pages.send(page).await.is_err() {
                    return;
                }
                let Some(last) = last else { return };
                options.min = Some(doc! { "_id": last });
                options.hint = Some(Hint::Keys(doc! { "_id": 1 }));
            }
        });
        stream::unfold(read, async |mut read| read.recv().await.map(|page| (page, read))).boxed()
    }

    /// Every document of every collection, whatever it is, in its JSON form, or as the text that its bytes are where it
    /// has none (a snapshot is bytes): for whoever must be sure of what is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn everything(&self) -> Result<BTreeMap<String, Vec<Value>>, StoreError> {
        let names = self.run(|database| async move { database.list_collection_names().await }).await?;
        let mut all = BTreeMap::new();
        for name in names {
            let collection = name.clone();
            let found: Vec<RawDocumentBuf> = self
                .run_bulk(|database| async move {
                    database.collection::<RawDocumentBuf>(&collection).find(doc! {}).await?.try_collect().await
                })
                .await?;
            let text = |document: &RawDocumentBuf| String::from_utf8_lossy(document.as_bytes()).into_owned().into();
            let shown = |document| json(document).unwrap_or_else(|_| text(document));
            all.insert(name, found.iter().map(shown).collect());
        }
        Ok(all)
    }

    async fn find_in(
        &self,
        collection: &CollectionName,
        filter: BsonDocument,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let name = collection.as_str().to_owned();
        self.run(|database| async move {
            let documents = database.collection::<RawDocumentBuf>(&name);
            documents.find(filter).with_options(options).await?.try_collect().await
        })
        .await
    }
}

fn id_in(document: &RawDocumentBuf) -> Option<bson::Bson> {
    document.get("_id").ok().flatten().and_then(|id| id.try_into().ok())
}
