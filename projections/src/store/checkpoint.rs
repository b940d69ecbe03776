//! Checkpoints: for each model the position in the log and the collection with the documents.
//!
//! The collection `checkpoints` has one document per model. Every write to it is conditional on what the writer last
//! read (log, fold version, collection, changes of the quarantine), so a position never goes back, and a projector that
//! was overtaken by a rebuild, has an old quarantine or follows another log gets an error.

use bson::{Bson as BsonValue, Document as Bson, RawDocumentBuf, doc};
use dockhost_domain::incarnation::Incarnation;
use futures::TryStreamExt as _;
use mongodb::Database;
use mongodb::options::ReadConcern;
use serde::{Deserialize, Serialize};

use super::collection::CollectionName;
use super::quarantine::Quarantine;
use super::query::CheckpointHeader;
use super::schema::StoredModel;
use super::{MongoStore, StoreError};

pub(super) const COLLECTION: &str = "checkpoints";

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
        let filter = doc! { "_id": { "$in": models } };
        let found: Vec<RawDocumentBuf> =
            self.run(|database| async move { checkpoints(&database).find(filter).await?.try_collect().await }).await?;
        let found = found.iter().map(|found| super::read::decode(COLLECTION, found));
        let mut found = found.collect::<Result<Vec<Checkpoint>, _>>()?;
        let mut take = |model: &'static str| {
            let index = found.iter().position(|checkpoint| checkpoint.model == model);
            index.map(|index| found.swap_remove(index))
        };
        Ok(models.iter().map(|model| take(model)).collect())
    }

    /// The checkpoint of a model; `None` before its first projector. A query that starts afterwards, on any replica, reads
    /// documents that are at least as far.
    ///
    /// # Errors
    /// [`StoreError`]; `Malformed` for a checkpoint that this version can't read.
    pub async fn checkpoint<M: StoredModel>(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.checkpoint_with::<M>(ReadConcern::majority()).await
    }

    /// The checkpoint as it is now. A node that has just become primary may for a moment answer other reads from an
    /// older state; this one waits until a majority confirms it.
    pub(crate) async fn latest_checkpoint<M: StoredModel>(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.checkpoint_with::<M>(ReadConcern::linearizable()).await
    }

    async fn checkpoint_with<M: StoredModel>(&self, concern: ReadConcern) -> Result<Option<Checkpoint>, StoreError> {
        let found = self
            .run(|database| async move {
                checkpoints(&database).find_one(doc! { "_id": M::NAME }).read_concern(concern).await
            })
            .await?;
        found.map(|found| super::read::decode(COLLECTION, &found)).transpose()
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

    /// Replaces the checkpoint by one at the start of the log whose collection, `fresh`, holds nothing yet. Returns whether
    /// the checkpoint was still `seen`; without one, whether there is one now.
    pub(crate) async fn restart_checkpoint(
        &self,
        seen: Option<&Checkpoint>,
        fresh: &Checkpoint,
    ) -> Result<bool, StoreError> {
        let (model, members) = (fresh.model.clone(), members(fresh)?);
        let Some(seen) = seen else {
            let create = doc! { "$setOnInsert": members };
            let insert = async |database: Database| {
                checkpoints(&database).update_one(doc! { "_id": model }, create).upsert(true).await
            };
            self.run(insert).await?;
            return Ok(true);
        };
        let mut filter = identity(seen);
        filter.insert("sequence", number(seen.sequence));
        let unset = doc! { "changes": "", "quarantined": "" };
        self.update_checkpoint(filter, doc! { "$set": members, "$unset": unset }).await
    }

    /// Advances the checkpoint to `next`, which may quarantine more aggregates, if it is still `expected` or between
    /// the two.
    pub(crate) async fn advance<M: StoredModel>(
        &self,
        expected: &Checkpoint,
        next: &Checkpoint,
    ) -> Result<Advance, StoreError> {
        let mut filter = identity(expected);
        // One below `expected` is that of older documents, which lack the events in between.
        let range = doc! { "$gte": number(expected.sequence), "$lte": number(next.sequence) };
        filter.insert("sequence", range);
        let mut members = doc! { "sequence": number(next.sequence) };
        if next.quarantine != expected.quarantine {
            members.extend(self::members(&next.quarantine)?);
        }
        if self.update_checkpoint(filter, doc! { "$set": members }).await? {
            return Ok(Advance::Advanced);
        }
        let is_ahead = |now: &Checkpoint| {
            identity(now) == identity(next) && now.quarantine == next.quarantine && now.sequence >= next.sequence
        };
        // Another read might not show yet what the update has compared with.
        Ok(match self.latest_checkpoint::<M>().await? {
            // Another projector was faster.
            Some(now) if is_ahead(&now) => Advance::Advanced,
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

impl Checkpoint {
    /// Whether a projector at this checkpoint can go on with the documents of `now`: they are of the same build, and hold
    /// at least the same events.
    pub(super) fn is_continued_by(&self, now: &CheckpointHeader) -> bool {
        now.incarnation == self.incarnation
            && now.fold_version == self.fold_version
            && now.collection == self.collection
            && now.changes == self.quarantine.changes()
            && now.sequence >= self.sequence
    }

    /// Whether this is the checkpoint of documents that a projector which was at `before` has left behind: the database
    /// was replaced by an older copy.
    pub(crate) fn is_older_than(&self, before: &Self) -> bool {
        let age = |checkpoint: &Self| {
            let number = CollectionName::number(&checkpoint.model, checkpoint.collection.as_str());
            (number.unwrap_or(0), checkpoint.sequence)
        };
        self.incarnation == before.incarnation && age(self) < age(before)
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
