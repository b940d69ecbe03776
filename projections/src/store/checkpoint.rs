//! Checkpoints: how far each model has folded which log, and which collection holds it. The only cursor there is.
//!
//! In: a model's new position. Out: whether it counts. The collection `checkpoints` has one document per model, and
//! every write to it states what it believes (log, fold version, collection, what is held back): a position never goes
//! back, and a projector that was overtaken by a rebuild, that goes by an old list, or that follows another log, is
//! told so instead of being believed.

use bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::collection::{CachedLocation, CollectionName};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;

use super::{MongoStore, StoreError};
use crate::model::ReadModel;
use crate::quarantine::{Quarantine, Unreadable};

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
    /// All events of the log up to this stream sequence are in the documents, but for those held back.
    pub sequence: u64,
    /// By which version of the fold.
    pub fold_version: u32,
    /// Where the documents are.
    pub collection: CollectionName,
    /// Where a rebuild is preparing the next ones.
    #[serde(default)]
    pub building: Option<CollectionName>,
    /// Aggregates whose events are not in the documents from some sequence on.
    #[serde(flatten)]
    pub quarantine: Quarantine,
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
            quarantine: Quarantine::default(),
        }
    }
}

/// The part of a checkpoint that a question needs.
#[derive(Debug, Deserialize)]
pub(super) struct CheckpointHeader {
    pub(super) collection: CollectionName,
    #[serde(default)]
    pub(super) changes: u64,
    #[serde(default)]
    quarantined: Vec<Unreadable>,
}

impl CheckpointHeader {
    /// From which sequence on the aggregate that was asked about is held back.
    pub(super) fn quarantined_from(&self) -> Option<u64> {
        self.quarantined.first().map(|held| held.sequence)
    }
}

/// What became of an attempt to move a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advance {
    /// It stands there now, or stood further already.
    Advanced,
    /// The model is another one now: this is its checkpoint.
    Changed(Box<Checkpoint>),
    /// There is no checkpoint any more.
    Missing,
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
        let checkpoint: Option<Checkpoint> = found.map(|found| super::read::decode(COLLECTION, &found)).transpose()?;
        let changes = checkpoint.as_ref().map_or(0, |found| found.quarantine.changes());
        let name = checkpoint.as_ref().map_or_else(|| CollectionName::first(M::NAME), |found| found.collection.clone());
        self.cache_location(M::NAME, CachedLocation { name, changes, asked_at });
        Ok(checkpoint)
    }

    /// The model's checkpoint; begins one at the start of this log if there is none.
    pub(crate) async fn load_or_create_checkpoint<M: ReadModel>(
        &self,
        incarnation: &Incarnation,
    ) -> Result<Checkpoint, StoreError> {
        if let Some(checkpoint) = self.checkpoint::<M>().await? {
            return Ok(checkpoint);
        }
        let first = Checkpoint::first::<M>(incarnation);
        let members = members(&first)?;
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

    /// Moves the checkpoint to `next`, which may hold more aggregates back, if it is still the one that `believed`
    /// describes and stands before that.
    pub(crate) async fn advance<M: ReadModel>(
        &self,
        believed: &Checkpoint,
        next: &Checkpoint,
    ) -> Result<Advance, StoreError> {
        let mut filter = identity(believed);
        filter.insert("sequence", doc! { "$lte": number(next.sequence) });
        let mut members = doc! { "sequence": number(next.sequence) };
        if next.quarantine != believed.quarantine {
            members.extend(self::members(&next.quarantine)?);
        }
        if self.update_checkpoint(filter, doc! { "$set": members }).await? {
            return Ok(Advance::Advanced);
        }
        Ok(match self.checkpoint::<M>().await? {
            // It stood further already.
            Some(now) if identity(&now) == identity(next) && now.quarantine == next.quarantine => Advance::Advanced,
            Some(now) => Advance::Changed(Box::new(now)),
            None => Advance::Missing,
        })
    }

    /// Changes what is held back, if the checkpoint is still the one that `believed` describes and not beyond `end`.
    pub(crate) async fn update_quarantine(
        &self,
        believed: &Checkpoint,
        end: u64,
        quarantine: &Quarantine,
    ) -> Result<bool, StoreError> {
        let mut filter = identity(believed);
        filter.insert("sequence", doc! { "$lte": number(end) });
        let members = members(quarantine)?;
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    /// What a question needs to know: where the documents are, and whether the aggregate that it is about is held back.
    pub(super) async fn checkpoint_header<M: ReadModel>(
        &self,
        about: Option<&AggregateId>,
    ) -> Result<CheckpointHeader, StoreError> {
        let mut members = doc! { "collection": 1, "changes": 1 };
        if let Some(aggregate) = about {
            members.insert("quarantined", doc! { "$elemMatch": { "subject": aggregate.to_string() } });
        }
        let found = self
            .run(|database| async move {
                checkpoints(&database).find_one(doc! { "_id": M::NAME }).projection(members).await
            })
            .await?;
        let first =
            || CheckpointHeader { collection: CollectionName::first(M::NAME), changes: 0, quarantined: Vec::new() };
        Ok(found.map(|found| super::read::decode(COLLECTION, &found)).transpose()?.unwrap_or_else(first))
    }

    /// Notes that `building` is being prepared, unless the checkpoint's collection or building changed meanwhile.
    pub(crate) async fn reserve_target(
        &self,
        seen: &Checkpoint,
        building: &CollectionName,
    ) -> Result<bool, StoreError> {
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
        let members = members(next)?;
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    async fn update_checkpoint(&self, filter: Bson, update: Bson) -> Result<bool, StoreError> {
        let result =
            self.run(|database| async move { checkpoints(&database).update_one(filter, update).await }).await?;
        Ok(result.matched_count == 1)
    }
}

fn checkpoints(database: &Database) -> mongodb::Collection<RawDocumentBuf> {
    database.collection(COLLECTION)
}

/// The members to be set.
fn members(value: &impl Serialize) -> Result<Bson, StoreError> {
    let form = super::write::encode(value).map_err(StoreError::rejected)?;
    let mut members = Bson::try_from(form).map_err(StoreError::rejected)?;
    members.remove("_id");
    Ok(members)
}

/// What must not have changed for a position to mean the same.
fn identity(checkpoint: &Checkpoint) -> Bson {
    let changes = checkpoint.quarantine.changes();
    doc! {
        "_id": checkpoint.model.as_str(),
        "incarnation": checkpoint.incarnation.to_string(),
        "foldVersion": checkpoint.fold_version,
        "collection": checkpoint.collection.as_str(),
        // A checkpoint that never held anything back has no such member.
        "changes": (changes > 0).then(|| number(changes)),
    }
}

/// Sequences are stored as 64-bit integers; a stream never holds more than those.
pub(super) fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
