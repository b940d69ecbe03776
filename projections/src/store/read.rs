//! Reads documents.

use bson::{Document as BsonDocument, RawDocumentBuf, doc};
use futures::TryStreamExt;
use futures::stream::{self, BoxStream, StreamExt};
use mongodb::options::{FindOptions, Hint};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::schema::Document;
use super::{CollectionName, MongoStore, StoreError};

/// Documents per round trip of a scan.
const DOCUMENTS_PER_PAGE: i64 = 1000;
/// Pages that a scan reads ahead.
const PAGES_READ_AHEAD: usize = 2;

/// The JSON form of a stored document.
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
    /// The documents with these ids in this collection, each with its stored form.
    pub(crate) async fn stored_in<D: Document>(
        &self,
        collection: &CollectionName,
        ids: impl IntoIterator<Item = D::Id>,
    ) -> Result<Vec<(D, RawDocumentBuf)>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let found = self.find_in(collection, doc! { "_id": { "$in": ids } }, FindOptions::default()).await?;
        found.into_iter().map(|found| Ok((decode(collection.as_str(), &found)?, found))).collect()
    }

    /// All documents of a collection in their stored form, by id. A task reads some pages ahead. Documents that are inserted
    /// meanwhile may be missing.
    pub(crate) fn pages(
        &self,
        collection: &CollectionName,
    ) -> BoxStream<'static, Result<Vec<RawDocumentBuf>, StoreError>> {
        let (pages, read) = mpsc::channel(PAGES_READ_AHEAD);
        let (store, collection) = (self.clone(), collection.clone());
        // The task ends when the stream is dropped.
        tokio::spawn(async move {
            let mut options = FindOptions::builder().sort(doc! { "_id": 1 }).limit(DOCUMENTS_PER_PAGE).build();
            loop {
                let page = store.find_in(&collection, doc! {}, options.clone()).await;
                // The page begins with the last document of the page before. It uses `min` because a filter on the id would
                // not select ids of another type.
                let previous = options.min.as_ref().and_then(|min| min.get("_id"));
                let page = page.map(|page| {
                    let is_previous =
                        |document: &RawDocumentBuf| previous.is_some() && id_in(document).as_ref() == previous;
                    let skip = usize::from(page.first().is_some_and(is_previous));
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
