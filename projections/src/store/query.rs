//! Queries of live documents.
//!
//! A query reads documents and the model's checkpoint in one snapshot of the database, so it knows what it shows: which log,
//! up to which sequence, and whether the aggregate is quarantined. Without that, a database that is lost or replaced between
//! two reads would look like an empty or an older model.

use std::ops::Deref;
use std::sync::PoisonError;

use bson::{Document as BsonDocument, RawDocumentBuf, doc};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use futures::TryStreamExt;
use mongodb::options::ReadConcern;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::checkpoint::{COLLECTION, Checkpoint};
use super::collection::{CollectionName, DROP_GRACE_PERIOD};
use super::quarantine::Unreadable;
use super::read::decode;
use super::schema::{IdOf, StoredModel};
use super::{MongoStore, StoreError};

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult<T> {
    /// What was found.
    pub value: T,
    /// The state of the model in which it was found; `None` if the model has no checkpoint, because no projector has run
    /// yet or because the documents were lost.
    pub state: Option<ModelState>,
    /// The queried aggregate is quarantined: its events from this sequence on are not in `value`.
    pub stale_since: Option<u64>,
}

/// A state of a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelState {
    /// The log from which the documents were folded.
    pub incarnation: Incarnation,
    /// All events up to this sequence are in the documents, except those of quarantined aggregates.
    pub sequence: u64,
}

impl<T> ReadResult<T> {
    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> ReadResult<U> {
        ReadResult { value: change(self.value), state: self.state, stale_since: self.stale_since }
    }
}

impl<T> Deref for ReadResult<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The part of a checkpoint that a query needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckpointHeader {
    pub(super) incarnation: Incarnation,
    pub(super) sequence: u64,
    pub(super) fold_version: u32,
    pub(super) collection: CollectionName,
    #[serde(default)]
    pub(super) changes: u64,
    /// The queried aggregate only.
    #[serde(default)]
    quarantined: Vec<Unreadable>,
}

/// The last row of a query.
#[derive(Deserialize)]
struct CheckpointRow {
    checkpoint: CheckpointHeader,
}

/// The member that tells this row from a document.
const CHECKPOINT_MEMBER: &str = "checkpoint";

impl MongoStore {
    /// The live documents that a filter selects. `about` is the aggregate of all of them, if they are of one. Only `query.rs`
    /// files build filters, from typed values.
    pub(crate) async fn find<M: StoredModel>(
        &self,
        about: Option<AggregateId>,
        filter: BsonDocument,
        sort: BsonDocument,
    ) -> Result<ReadResult<Vec<M::Document>>, StoreError> {
        let mut stages = vec![doc! { "$match": filter }];
        if !sort.is_empty() {
            stages.push(doc! { "$sort": sort });
        }
        self.find_with::<M>(about, stages).await
    }

    /// The same with any stages that yield documents.
    pub(crate) async fn find_with<M: StoredModel>(
        &self,
        about: Option<AggregateId>,
        stages: Vec<BsonDocument>,
    ) -> Result<ReadResult<Vec<M::Document>>, StoreError> {
        self.rows_with::<M, M::Document>(about, stages).await
    }

    /// The rows that stages make of a model's live documents.
    pub(crate) async fn rows_with<M: StoredModel, R: DeserializeOwned>(
        &self,
        about: Option<AggregateId>,
        stages: Vec<BsonDocument>,
    ) -> Result<ReadResult<Vec<R>>, StoreError> {
        loop {
            let (started, name) = (Instant::now(), self.live_collection(M::NAME));
            let (documents, header) = self.at_once::<M>(&name, about.as_ref(), stages.clone()).await?;
            let live = header.as_ref().map_or_else(|| CollectionName::first(M::NAME), |found| found.collection.clone());
            if live != name {
                self.set_live_collection(M::NAME, live);
            } else if started.elapsed() < DROP_GRACE_PERIOD {
                let value = documents.iter().map(|document| decode(M::NAME, document)).collect::<Result<_, _>>()?;
                let stale_since = header.as_ref().and_then(|found| found.quarantined.first()).map(|one| one.sequence);
                let state = header.map(|found| ModelState { incarnation: found.incarnation, sequence: found.sequence });
                return Ok(ReadResult { value, state, stale_since });
            }
        }
    }

    /// The documents with these ids as a projector at `expected` may fold them further; `None` if the checkpoint is now
    /// another or an older one.
    pub(crate) async fn many_at<M: StoredModel>(
        &self,
        expected: &Checkpoint,
        ids: impl IntoIterator<Item = IdOf<M>>,
    ) -> Result<Option<Vec<M::Document>>, StoreError> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let stages = vec![doc! { "$match": { "_id": { "$in": ids } } }];
        let (documents, header) = self.at_once::<M>(&expected.collection, None, stages).await?;
        if !header.is_some_and(|header| expected.is_continued_by(&header)) {
            return Ok(None);
        }
        documents.iter().map(|document| decode(M::NAME, document)).collect::<Result<_, _>>().map(Some)
    }

    /// Documents of a collection and the model's checkpoint, at one point in time.
    async fn at_once<M: StoredModel>(
        &self,
        collection: &CollectionName,
        about: Option<&AggregateId>,
        mut stages: Vec<BsonDocument>,
    ) -> Result<(Vec<RawDocumentBuf>, Option<CheckpointHeader>), StoreError> {
        let mut members = doc! { "incarnation": 1, "sequence": 1, "foldVersion": 1, "collection": 1, "changes": 1 };
        if let Some(aggregate) = about {
            let is_queried = doc! { "$eq": ["$$one.subject", aggregate.to_string()] };
            let all = doc! { "$ifNull": ["$quarantined", []] };
            members.insert("quarantined", doc! { "$filter": { "input": all, "as": "one", "cond": is_queried } });
        }
        let as_row = doc! { "$project": { "_id": 0, CHECKPOINT_MEMBER: "$$ROOT" } };
        let checkpoint = vec![doc! { "$match": { "_id": M::NAME } }, doc! { "$project": members }, as_row];
        stages.push(doc! { "$unionWith": { "coll": COLLECTION, "pipeline": checkpoint } });
        let name = collection.as_str().to_owned();
        let mut rows: Vec<RawDocumentBuf> = self
            .run_read(|database| {
                let (name, stages) = (name.clone(), stages.clone());
                async move {
                    let documents = database.collection::<RawDocumentBuf>(&name);
                    let query = documents.aggregate(stages).read_concern(ReadConcern::snapshot());
                    query.with_type::<RawDocumentBuf>().await?.try_collect().await
                }
            })
            .await?;
        let is_checkpoint = |row: &RawDocumentBuf| matches!(row.get(CHECKPOINT_MEMBER), Ok(Some(_)));
        let row = rows.pop_if(|row| is_checkpoint(row));
        let header = row.map(|row| decode::<CheckpointRow>(COLLECTION, &row)).transpose()?;
        Ok((rows, header.map(|row| row.checkpoint)))
    }

    /// The collection that the last query found live.
    fn live_collection(&self, model: &'static str) -> CollectionName {
        let known = self.inner.live_collections.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(model).cloned().unwrap_or_else(|| CollectionName::first(model))
    }

    fn set_live_collection(&self, model: &'static str, name: CollectionName) {
        self.inner.live_collections.lock().unwrap_or_else(PoisonError::into_inner).insert(model, name);
    }
}
