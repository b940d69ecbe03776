//! Checkpoints: how far each model has folded which log, and which collection holds it. The only cursor there is.
//!
//! In: a model's new position. Out: whether it counts. The collection `checkpoints` has one document per model, and
//! every write to it states what it believes (log, fold version, collection): a position never goes back, and a
//! projector that was overtaken by a rebuild, or that follows another log, is told so instead of being believed.

use bson::{Document as Bson, doc};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::collection::CollectionName;
use dockhost_domain::incarnation::Incarnation;

use super::{MongoStore, StoreError};
use crate::model::ReadModel;

const COLLECTION: &str = "checkpoints";

/// How far a model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The model's name.
    #[serde(rename = "_id")]
    pub model: String,
    /// Which log.
    pub incarnation: Incarnation,
    /// All events of the log up to this stream sequence are in the documents.
    pub sequence: u64,
    /// By which version of the fold.
    pub fold_version: u32,
    /// Where the documents are.
    pub collection: CollectionName,
    /// Where a rebuild is preparing the next ones.
    #[serde(default)]
    pub building: Option<CollectionName>,
}

impl Checkpoint {
    /// Before the first event of a log.
    pub(crate) fn first<M: ReadModel>(incarnation: &Incarnation) -> Self {
        Self {
            model: M::NAME.to_owned(),
            incarnation: incarnation.clone(),
            sequence: 0,
            fold_version: M::FOLD_VERSION,
            collection: CollectionName::first(M::NAME),
            building: None,
        }
    }
}

/// What became of an attempt to move a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advance {
    /// It stands there now, or stood further already.
    Done,
    /// The model is another one now: this is its checkpoint.
    Overtaken(Box<Checkpoint>),
    /// There is no checkpoint any more.
    Gone,
}

impl MongoStore {
    /// Where a model stands; none before its first projector. Reads that begin after a position was shown here, on any
    /// replica, are from documents that are at least as far.
    ///
    /// # Errors
    /// [`StoreError`]; `Malformed` for a checkpoint that this version did not write.
    pub async fn checkpoint<M: ReadModel>(&self) -> Result<Option<Checkpoint>, StoreError> {
        let asked_at = Instant::now();
        let found =
            self.run(|database| async move { checkpoints(&database).find_one(doc! { "_id": M::NAME }).await }).await?;
        let checkpoint = found.map(|found| super::read::decode(COLLECTION, found)).transpose()?;
        self.learn(M::NAME, checkpoint.as_ref(), asked_at);
        Ok(checkpoint)
    }

    /// The model's checkpoint; begins one at the start of this log if there is none.
    pub(crate) async fn begin<M: ReadModel>(&self, incarnation: &Incarnation) -> Result<Checkpoint, StoreError> {
        if let Some(checkpoint) = self.checkpoint::<M>().await? {
            return Ok(checkpoint);
        }
        let first = Checkpoint::first::<M>(incarnation);
        let mut members = super::write::encode(&first).map_err(StoreError::rejected)?;
        members.remove("_id");
        let begun = self
            .run(move |database| async move {
                let begin = doc! { "$setOnInsert": members };
                checkpoints(&database).update_one(doc! { "_id": M::NAME }, begin).upsert(true).await
            })
            .await;
        match (begun, self.checkpoint::<M>().await?) {
            (_, Some(checkpoint)) => Ok(checkpoint),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Ok(first),
        }
    }

    /// Moves the checkpoint to `to`, if it is still the one that `believed` describes and stands before that.
    pub(crate) async fn advance<M: ReadModel>(&self, believed: &Checkpoint, to: u64) -> Result<Advance, StoreError> {
        let mut filter = identity(believed);
        filter.insert("sequence", doc! { "$lte": number(to) });
        let update = doc! { "$set": { "sequence": number(to) } };
        if self.update_checkpoint(filter, update).await? {
            return Ok(Advance::Done);
        }
        Ok(match self.checkpoint::<M>().await? {
            Some(now) if identity(&now) == identity(believed) => Advance::Done,
            Some(now) => Advance::Overtaken(Box::new(now)),
            None => Advance::Gone,
        })
    }

    /// Notes that `building` is being prepared, unless the checkpoint's collection or building changed meanwhile.
    pub(crate) async fn claim(&self, seen: &Checkpoint, building: &CollectionName) -> Result<bool, StoreError> {
        let mut filter = identity(seen);
        filter.insert("building", seen.building.as_ref().map(CollectionName::as_str));
        self.update_checkpoint(filter, doc! { "$set": { "building": building.as_str() } }).await
    }

    /// Makes `next` the checkpoint in one step: refused if the collection was switched or the building claimed by
    /// another, or if the live documents of the same log are further than the new ones.
    pub(crate) async fn switch(&self, seen: &Checkpoint, next: &Checkpoint) -> Result<bool, StoreError> {
        let mut filter = identity(seen);
        filter.insert("building", next.collection.as_str());
        if seen.incarnation == next.incarnation {
            filter.insert("sequence", doc! { "$lte": number(next.sequence) });
        }
        let mut members = super::write::encode(next).map_err(StoreError::rejected)?;
        members.remove("_id");
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    async fn update_checkpoint(&self, filter: Bson, update: Bson) -> Result<bool, StoreError> {
        let result =
            self.run(|database| async move { checkpoints(&database).update_one(filter, update).await }).await?;
        Ok(result.matched_count == 1)
    }
}

fn checkpoints(database: &Database) -> mongodb::Collection<Bson> {
    database.collection(COLLECTION)
}

/// What must not have changed for a position to mean the same.
fn identity(checkpoint: &Checkpoint) -> Bson {
    doc! {
        "_id": checkpoint.model.as_str(),
        "incarnation": checkpoint.incarnation.to_string(),
        "foldVersion": checkpoint.fold_version,
        "collection": checkpoint.collection.as_str(),
    }
}

/// Sequences are stored as 64-bit integers; a stream never holds more than those.
pub(super) fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
