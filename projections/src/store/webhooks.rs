//! Stores how far the deliveries of webhooks are.
//!
//! The collection `webhook_progress` has one document per webhook, and the document [`KNOWN`], which says since when the
//! collection exists: of what happened before, it does not tell what was delivered. It is no read model: the log does not have
//! what is in it. Each write names the version that it replaces, so that of two leaders only the newer one goes on.

use std::collections::BTreeMap;

use bson::{Document as Bson, RawDocumentBuf, doc};
use dockhost_domain::ids::{EventId, WebhookId};
use dockhost_domain::timestamp::Timestamp;
use futures::TryStreamExt;
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use super::checkpoint::number;
use super::read::decode;
use super::write::{is_duplicate, to_bson};
use super::{MongoStore, StoreError};

const COLLECTION: &str = "webhook_progress";
/// The id of the document that says since when the collection exists.
const KNOWN: &str = "known";

/// How far the deliveries of a webhook are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookProgress {
    /// The log that the position is in.
    pub log: String,
    /// The event that began these deliveries.
    pub began_with: EventId,
    /// Everything up to this sequence of the log is delivered.
    pub position: u64,
    /// When the receiver took the last one.
    #[serde(default)]
    pub delivered_at: Option<Timestamp>,
    /// Since when every attempt fails, if it does.
    #[serde(default)]
    pub failing: Option<Failing>,
    /// The last attempts, the newest first.
    #[serde(default)]
    pub attempts: Vec<DeliveryAttempt>,
}

/// A receiver that takes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// When the first attempt failed.
    pub since: Timestamp,
    /// Attempts that failed since then.
    pub attempts: u32,
    /// When the next one is made.
    pub next_attempt: Timestamp,
    /// Why the last one failed.
    pub error: String,
}

/// An attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: Timestamp,
    /// The sequence of the event.
    pub sequence: u64,
    /// The header `webhook-id`.
    pub message_id: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// The status that the receiver answered, if it did.
    #[serde(default)]
    pub status: Option<u16>,
    /// Why it failed, if it did.
    #[serde(default)]
    pub error: Option<String>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is stored, as this version.
    As(i64),
    /// Another leader has stored since.
    Superseded,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: String,
    version: i64,
    progress: WebhookProgress,
}

impl MongoStore {
    /// Begins the collection at the end of the log, unless it exists; returns the log's sequence at which it was begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_webhook_progress(&self, end: u64) -> Result<u64, StoreError> {
        let known = self
            .run(move |database| async move {
                let begin = doc! { "$setOnInsert": { "since": number(end) } };
                let collection = database.collection::<Bson>(COLLECTION);
                let known = collection.find_one_and_update(doc! { "_id": KNOWN }, begin).upsert(true);
                known.return_document(ReturnDocument::After).await
            })
            .await?;
        let since = known.and_then(|known| known.get_i64("since").ok()).and_then(|since| u64::try_from(since).ok());
        Ok(since.unwrap_or(end))
    }

    /// How far these webhooks are, each with the version of its document. Those without a document are absent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhook_progress(
        &self,
        ids: &[WebhookId],
    ) -> Result<BTreeMap<WebhookId, (i64, WebhookProgress)>, StoreError> {
        let filter = doc! { "_id": { "$in": texts(ids) } };
        let found: Vec<RawDocumentBuf> = self
            .run_read(|database| {
                let filter = filter.clone();
                async move { database.collection::<RawDocumentBuf>(COLLECTION).find(filter).await?.try_collect().await }
            })
            .await?;
        let mut progress = BTreeMap::new();
        for document in found {
            let stored: Stored = decode(COLLECTION, &document)?;
            if let Ok(id) = stored.id.parse() {
                progress.insert(id, (stored.version, stored.progress));
            }
        }
        Ok(progress)
    }

    /// Stores how far a webhook is, in the place of this version; of none if it has no document.
    ///
    /// # Errors
    /// [`StoreError`]. It may be stored nevertheless: read it again.
    pub async fn save_webhook_progress(
        &self,
        id: WebhookId,
        replaced: Option<i64>,
        progress: &WebhookProgress,
    ) -> Result<Saved, StoreError> {
        let (id, version) = (id.to_string(), replaced.map_or(1, |version| version.saturating_add(1)));
        let stored = Stored { id: id.clone(), version, progress: progress.clone() };
        let document = to_bson(&stored).map_err(StoreError::Rejected)?;
        let is_stored = self
            .run(move |database| async move {
                let collection = database.collection::<RawDocumentBuf>(COLLECTION);
                match replaced {
                    None => match collection.insert_one(document).await {
                        Err(error) if is_duplicate(&error) => Ok(false),
                        inserted => inserted.map(|_| true),
                    },
                    Some(replaced) => {
                        let filter = doc! { "_id": id, "version": replaced };
                        Ok(collection.replace_one(filter, document).await?.matched_count == 1)
                    }
                }
            })
            .await?;
        Ok(if is_stored { Saved::As(version) } else { Saved::Superseded })
    }

    /// The webhooks of which something is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhooks_with_progress(&self) -> Result<Vec<WebhookId>, StoreError> {
        let found: Vec<Bson> = self
            .run_read(|database| async move {
                let collection = database.collection::<Bson>(COLLECTION);
                collection.find(doc! {}).projection(doc! { "_id": 1 }).await?.try_collect().await
            })
            .await?;
        Ok(found.iter().filter_map(|document| document.get_str("_id").ok()?.parse().ok()).collect())
    }

    /// Moves positions in another log back to the end of this one, if they are after it. A restored log has its sequences in common
    /// with the former one up to its end only: later ones are of other events, which nobody was sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn limit_webhook_progress(&self, log: &str, end: u64) -> Result<(), StoreError> {
        let end = number(end);
        let after = doc! { "progress.log": { "$ne": log }, "progress.position": { "$gt": end } };
        let limit = doc! { "$set": { "progress.position": end }, "$inc": { "version": 1_i64 } };
        self.run_bulk(|database| async move { database.collection::<Bson>(COLLECTION).update_many(after, limit).await })
            .await
            .map(|_| ())
    }

    /// Removes what is known of these webhooks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_webhook_progress(&self, ids: &[WebhookId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let filter = doc! { "_id": { "$in": texts(ids) } };
        self.run_bulk(|database| async move { database.collection::<Bson>(COLLECTION).delete_many(filter).await })
            .await
            .map(|_| ())
    }
}

fn texts(ids: &[WebhookId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}
