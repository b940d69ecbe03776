//! Stores snapshots of aggregates, so that a replica need not fold them from the beginning of the log.
//!
//! The collection `snapshots` has one document per aggregate and may be dropped at any time. An older snapshot never
//! replaces a newer one of the same log and fold version. The caller decides whether a snapshot is valid.

use bson::{Binary, Document as Bson, doc, spec::BinarySubtype};
use dockhost_domain::ids::EventId;
use dockhost_domain::incarnation::Incarnation;

use super::checkpoint::number;
use super::write::is_duplicate;
use super::{MongoStore, StoreError};

const COLLECTION: &str = "snapshots";

/// A sealed state of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The aggregate's subject.
    pub subject: String,
    /// The log.
    pub incarnation: Incarnation,
    /// The fold version of the state.
    pub fold_version: u32,
    /// The sequence of the last event in it.
    pub sequence: u64,
    /// The number of events in it.
    pub events: u64,
    /// The id of the last event.
    pub event: EventId,
    /// The sealed state.
    pub state: Vec<u8>,
}

impl MongoStore {
    /// The snapshot of an aggregate; `None` if there is none, or none in the format of this version.
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

    /// Stores a snapshot, unless one of the same log and fold version is stored that is as far or further.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.run_bulk(|database| async move {
            let Snapshot { subject, incarnation, fold_version, sequence, events, event, state } = snapshot;
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
                "events": number(events),
                "event": event.to_string(),
                "state": Binary { subtype: BinarySubtype::Generic, bytes: state },
            };
            let replace = doc! { "$replaceWith": { "$cond": [further, "$$ROOT", { "$literal": members }] } };
            let snapshots = database.collection::<Bson>(COLLECTION);
            match snapshots.update_one(doc! { "_id": subject }, vec![replace]).upsert(true).await {
                // Another replica inserted one at the same time.
                Err(error) if is_duplicate(&error) => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }
}

fn read(subject: &str, found: &Bson) -> Option<Snapshot> {
    Some(Snapshot {
        subject: subject.to_owned(),
        incarnation: found.get_str("incarnation").ok()?.to_owned().into(),
        fold_version: u32::try_from(found.get_i64("foldVersion").ok()?).ok()?,
        sequence: u64::try_from(found.get_i64("sequence").ok()?).ok()?,
        events: u64::try_from(found.get_i64("events").ok()?).ok()?,
        event: found.get_str("event").ok()?.parse().ok()?,
        state: found.get_binary_generic("state").ok()?.clone(),
    })
}
