//! Checkpoints: for each model the position in the log and the collection with the documents.
//!
//! The collection `checkpoints` has one document per model. Every write to it is conditional on what the writer last
//! read (log, fold version, collection, changes of the quarantine), so a position never goes back, and a projector that
//! was overtaken by a rebuild, has an old quarantine or follows another log gets an error.

use bson::{Bson as BsonValue, Document as Bson, RawDocumentBuf, doc};
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use futures::TryStreamExt as _;
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::collection::{CachedLocation, CollectionName};
use super::quarantine::{Quarantine, Unreadable};
use super::schema::StoredModel;
use super::{MongoStore, StoreError};

const COLLECTION: &str = "checkpoints";

/// The checkpoint of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The model's name.
    #[serde(rename = "_id")]
    pub model: String,
    /// The log from which the documents were folded.
    pub incarnation: Incarnation,
    /// All events up to this sequence are in the documents, except those of quarantined aggregates.
    pub sequence: u64,
    /// The fold version of the documents.
    pub fold_version: u32,
    /// The collection with the documents.
    pub collection: CollectionName,
    /// The collection that a rebuild has reserved and fills.
    #[serde(default)]
    pub building: Option<CollectionName>,
    /// The last report of that rebuild; of an earlier one if its collection is not `building`.
    #[serde(default)]
    pub build: Option<BuildStatus>,
    /// The collection that was reserved last. Its number is never reserved again, even after it was dropped.
    #[serde(default)]
    pub last_reserved: Option<CollectionName>,
    /// The subjects of aggregates that were released from the quarantine and that the leader has not re-queued yet.
    #[serde(default)]
    pub released: Vec<String>,
    /// The aggregates whose events are not in the documents from some sequence on.
    #[serde(flatten)]
    pub quarantine: Quarantine,
}

impl Checkpoint {
    /// The checkpoint before the first event of a log.
    pub(crate) fn first<M: StoredModel>(incarnation: &Incarnation) -> Self {
        Self {
            model: M::NAME.to_owned(),
            incarnation: incarnation.clone(),
            sequence: 0,
            fold_version: M::fold_version(),
            collection: CollectionName::first(M::NAME),
            building: None,
            build: None,
            last_reserved: None,
            released: Vec::new(),
            quarantine: Quarantine::default(),
        }
    }

    /// The last report of the rebuild that fills the reserved collection.
    #[must_use]
    pub fn active_build(&self) -> Option<&BuildStatus> {
        self.build.as_ref().filter(|build| Some(&build.collection) == self.building.as_ref())
    }
}

/// A report of a rebuild about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatus {
    /// The collection that it fills.
    pub collection: CollectionName,
    /// Its fold version.
    pub fold_version: u32,
    /// Increases with each report, so other replicas see that the rebuild is alive.
    pub reports: u64,
    /// The part of the log that is folded, as a sequence.
    pub done: u64,
    /// The sequence to which it folds.
    pub total: u64,
}

/// The part of a checkpoint that a query needs.
#[derive(Debug, Deserialize)]
pub(super) struct CheckpointHeader {
    pub(super) collection: CollectionName,
    #[serde(default)]
    pub(super) changes: u64,
    #[serde(default)]
    quarantined: Vec<Unreadable>,
}

impl CheckpointHeader {
    /// The sequence from which on the queried aggregate is quarantined.
    pub(super) fn quarantined_from(&self) -> Option<u64> {
        self.quarantined.first().map(|first| first.sequence)
    }
}

/// The result of an attempt to advance a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Advance {
    /// The position is reached; it may have been before.
    Advanced,
    /// The checkpoint is not the expected one, but this.
    Changed(Box<Checkpoint>),
    /// There is no checkpoint.
    Missing,
}

impl MongoStore {
    /// The checkpoints of several models, read by one query.
    ///
    /// # Errors
    /// As [`MongoStore::checkpoint`].
    pub(crate) async fn checkpoints(&self, models: &[&'static str]) -> Result<Vec<Option<Checkpoint>>, StoreError> {
        let (read_at, filter) = (Instant::now(), doc! { "_id": { "$in": models } });
        let found: Vec<RawDocumentBuf> =
            self.run(|database| async move { checkpoints(&database).find(filter).await?.try_collect().await }).await?;
        let found = found.iter().map(|found| super::read::decode(COLLECTION, found));
        let mut found = found.collect::<Result<Vec<Checkpoint>, _>>()?;
        let mut take = |model: &'static str| {
            let index = found.iter().position(|checkpoint| checkpoint.model == model);
            let checkpoint = index.map(|index| found.swap_remove(index));
            self.cache_checkpoint(model, checkpoint.as_ref(), read_at);
            checkpoint
        };
        Ok(models.iter().map(|model| take(model)).collect())
    }

    fn cache_checkpoint(&self, model: &'static str, checkpoint: Option<&Checkpoint>, read_at: Instant) {
        let changes = checkpoint.map_or(0, |found| found.quarantine.changes());
        let name = checkpoint.map_or_else(|| CollectionName::first(model), |found| found.collection.clone());
        self.cache_location(model, CachedLocation { name, changes, read_at });
    }

    /// The checkpoint of a model; `None` before its first projector. A query that starts afterwards, on any replica, reads
    /// documents that are at least as far.
    ///
    /// # Errors
    /// [`StoreError`]; `Malformed` for a checkpoint that this version can't read.
    pub async fn checkpoint<M: StoredModel>(&self) -> Result<Option<Checkpoint>, StoreError> {
        let read_at = Instant::now();
        let found =
            self.run(|database| async move { checkpoints(&database).find_one(doc! { "_id": M::NAME }).await }).await?;
        let checkpoint: Option<Checkpoint> = found.map(|found| super::read::decode(COLLECTION, &found)).transpose()?;
        self.cache_checkpoint(M::NAME, checkpoint.as_ref(), read_at);
        Ok(checkpoint)
    }

    /// The checkpoint of a model; creates one at the start of this log if there is none.
    pub(crate) async fn load_or_create_checkpoint<M: StoredModel>(
        &self,
        incarnation: &Incarnation,
    ) -> Result<Checkpoint, StoreError> {
        if let Some(checkpoint) = self.checkpoint::<M>().await? {
            return Ok(checkpoint);
        }
        let first = Checkpoint::first::<M>(incarnation);
        let members = members(&first)?;
        let created = self
            .run(move |database| async move {
                let create = doc! { "$setOnInsert": members };
                checkpoints(&database).update_one(doc! { "_id": M::NAME }, create).upsert(true).await
            })
            .await;
        match (created, self.checkpoint::<M>().await?) {
            (_, Some(checkpoint)) => Ok(checkpoint),
            (Err(error), None) => Err(error),
            (Ok(_), None) => Ok(first),
        }
    }

    /// Advances the checkpoint to `next`, which may quarantine more aggregates, if it is still `expected` or behind.
    pub(crate) async fn advance<M: StoredModel>(
        &self,
        expected: &Checkpoint,
        next: &Checkpoint,
    ) -> Result<Advance, StoreError> {
        let mut filter = identity(expected);
        filter.insert("sequence", doc! { "$lte": number(next.sequence) });
        let mut members = doc! { "sequence": number(next.sequence) };
        if next.quarantine != expected.quarantine {
            members.extend(self::members(&next.quarantine)?);
        }
        if self.update_checkpoint(filter, doc! { "$set": members }).await? {
            return Ok(Advance::Advanced);
        }
        Ok(match self.checkpoint::<M>().await? {
            // Another projector was faster.
            Some(now) if identity(&now) == identity(next) && now.quarantine == next.quarantine => Advance::Advanced,
            Some(now) => Advance::Changed(Box::new(now)),
            None => Advance::Missing,
        })
    }

    /// Changes the quarantine, if the checkpoint is still `expected` and its position not beyond `end`; adds an aggregate
    /// that this releases to `released`.
    pub(crate) async fn update_quarantine(
        &self,
        expected: &Checkpoint,
        end: u64,
        quarantine: &Quarantine,
        released: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut filter = identity(expected);
        filter.insert("sequence", doc! { "$lte": number(end) });
        let mut update = doc! { "$set": members(quarantine)? };
        if let Some(subject) = released {
            update.insert("$addToSet", doc! { "released": subject });
        }
        self.update_checkpoint(filter, update).await
    }

    /// Where the documents are, and from which sequence on the given aggregate is quarantined.
    pub(super) async fn checkpoint_header(
        &self,
        model: &'static str,
        about: Option<&AggregateId>,
    ) -> Result<CheckpointHeader, StoreError> {
        let mut members = doc! { "collection": 1, "changes": 1 };
        if let Some(aggregate) = about {
            members.insert("quarantined", doc! { "$elemMatch": { "subject": aggregate.to_string() } });
        }
        let found =
            self.run(|database| async move {
                checkpoints(&database).find_one(doc! { "_id": model }).projection(members).await
            })
            .await?;
        let first =
            || CheckpointHeader { collection: CollectionName::first(model), changes: 0, quarantined: Vec::new() };
        Ok(found.map(|found| super::read::decode(COLLECTION, &found)).transpose()?.unwrap_or_else(first))
    }

    /// Reserves a collection for a rebuild, unless the live collection or the reservation changed since `seen`; with
    /// `only_if_silent` also unless the rebuild that holds the reservation has reported since.
    pub(crate) async fn reserve_target(
        &self,
        seen: &Checkpoint,
        status: &BuildStatus,
        only_if_silent: bool,
    ) -> Result<bool, StoreError> {
        let mut filter = reservation(seen);
        if only_if_silent {
            filter.insert("build.reports", seen.build.as_ref().map(|build| number(build.reports)));
        }
        let target = status.collection.as_str();
        let members = doc! { "building": target, "lastReserved": target, "build": members(status)? };
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    /// Stores a report, if the reservation is still the rebuild's.
    pub(crate) async fn report_build(&self, model: &'static str, status: &BuildStatus) -> Result<bool, StoreError> {
        let filter = doc! { "_id": model, "building": status.collection.as_str() };
        self.update_checkpoint(filter, doc! { "$set": { "build": members(status)? } }).await
    }

    /// Cancels a reservation, unless it changed since `seen` or its rebuild has reported since.
    pub(crate) async fn cancel_build(&self, seen: &Checkpoint) -> Result<bool, StoreError> {
        let mut filter = reservation(seen);
        filter.insert("build.reports", seen.build.as_ref().map(|build| number(build.reports)));
        let members = doc! { "building": BsonValue::Null, "build": BsonValue::Null };
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    /// Clears `released`, unless it changed since `seen`.
    pub(crate) async fn clear_released(&self, seen: &Checkpoint) -> Result<bool, StoreError> {
        let mut filter = identity(seen);
        filter.insert("released", &seen.released);
        let members = doc! { "released": Vec::<String>::new() };
        self.update_checkpoint(filter, doc! { "$set": members }).await
    }

    /// Replaces the checkpoint by `next` in one step. Fails if another rebuild has switched or has reserved a collection
    /// since, or if the live documents of the same log are further than the new ones.
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

/// The stored members of a checkpoint or a part of one.
fn members(value: &impl Serialize) -> Result<Bson, StoreError> {
    let form = super::write::to_bson(value).map_err(StoreError::rejected)?;
    let mut members = Bson::try_from(form).map_err(StoreError::rejected)?;
    members.remove("_id");
    Ok(members)
}

/// The members that must be unchanged for a position to have the same meaning.
fn identity(checkpoint: &Checkpoint) -> Bson {
    let changes = checkpoint.quarantine.changes();
    doc! {
        "_id": checkpoint.model.as_str(),
        "incarnation": checkpoint.incarnation.to_string(),
        "foldVersion": checkpoint.fold_version,
        "collection": checkpoint.collection.as_str(),
        // The member is absent until an aggregate was quarantined for the first time.
        "changes": (changes > 0).then(|| number(changes)),
    }
}

/// [`identity`], and the reservation.
fn reservation(checkpoint: &Checkpoint) -> Bson {
    let mut filter = identity(checkpoint);
    filter.insert("building", checkpoint.building.as_ref().map(CollectionName::as_str));
    filter
}

/// A sequence in its stored form: a 64-bit integer, which holds every sequence of a stream.
pub(super) fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
