//! Snapshots: states of aggregates as of an event, kept to spare a replica the long way through the log.
//!
//! In: sealed bytes with what they are of. Out: the last ones of an aggregate. One document per aggregate in the
//! collection `snapshots`, which may be dropped at any time. An older one never replaces a newer one that is comparable
//! (same log, same fold); which ones count is for the reader to say.

use bson::{Binary, Document as Bson, doc, spec::BinarySubtype};
use dockhost_domain::ids::EventId;
use dockhost_domain::incarnation::Incarnation;
use mongodb::error::{ErrorKind, WriteFailure};

use super::checkpoint::number;
use super::write::DUPLICATE_KEY;
use super::{MongoStore, StoreError};

const COLLECTION: &str = "snapshots";

/// A state, and what it is the state of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The aggregate's subject.
    pub subject: String,
    /// Which log.
    pub incarnation: Incarnation,
    /// By which version of the fold.
    pub fold_version: u32,
    /// The last event in it, by its place in the log.
    pub sequence: u64,
    /// The same event, by its id.
    pub event: EventId,
    /// The sealed state.
    pub state: Vec<u8>,
}

impl MongoStore {
    /// The snapshot of an aggregate; none if there is none that this version could have written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self, subject: &str) -> Result<Option<Snapshot>, StoreError> {
        let id = subject.to_owned();
        let found = self
            .run(|database| async move { database.collection::<Bson>(COLLECTION).find_one(doc! { "_id": id }).await })
            .await?;
        Ok(found.and_then(|found| read(subject, &found)))
    }

    /// Keeps a snapshot, unless one is kept that is as far or further by the same fold of the same log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.run_bulk(|database| async move {
            let Snapshot { subject, incarnation, fold_version, sequence, event, state } = snapshot;
            let (incarnation, fold_version) = (incarnation.to_string(), i64::from(fold_version));
            let sequence = number(sequence);
            let further = doc! { "$and": [
                { "$eq": ["$incarnation", { "$literal": &incarnation }] },
                { "$eq": ["$foldVersion", fold_version] },
                { "$gte": ["$sequence", sequence] },
            ] };
            let members = doc! {
                "_id": &subject,
                "incarnation": incarnation,
                "foldVersion": fold_version,
                "sequence": sequence,
                "event": event.to_string(),
                "state": Binary { subtype: BinarySubtype::Generic, bytes: state },
            };
            let replace = doc! { "$replaceWith": { "$cond": [further, "$$ROOT", { "$literal": members }] } };
            let snapshots = database.collection::<Bson>(COLLECTION);
            match snapshots.update_one(doc! { "_id": subject }, vec![replace]).upsert(true).await {
                // Two new ones at the same moment: the other is as good.
                Err(error) if collided(&error) => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }
}

fn collided(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

fn read(subject: &str, found: &Bson) -> Option<Snapshot> {
    Some(Snapshot {
        subject: subject.to_owned(),
        incarnation: found.get_str("incarnation").ok()?.to_owned().into(),
        fold_version: u32::try_from(found.get_i64("foldVersion").ok()?).ok()?,
        sequence: u64::try_from(found.get_i64("sequence").ok()?).ok()?,
        event: found.get_str("event").ok()?.parse().ok()?,
        state: found.get_binary_generic("state").ok()?.clone(),
    })
}
