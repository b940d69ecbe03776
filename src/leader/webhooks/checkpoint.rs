//! How far the deliveries of one webhook are, as it is stored. Storing it fails once another leader has stored it.

use std::time::{Duration, Instant};

use dockhost_domain::ids::WebhookId;
use dockhost_projections::store::{DeliveryAttempt, MongoStore, Saved, WebhookProgress};

use crate::common::error::Cause;

/// Attempts that are kept for the webhook's user.
const MAX_ATTEMPTS_KEPT: usize = 20;
/// How often it is stored that there was nothing to deliver. Otherwise a new leader reads that part of the log again.
const QUIET_INTERVAL: Duration = Duration::from_secs(60);

/// Another leader delivers.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("another leader has taken the webhooks over")]
pub struct Superseded;

/// The stored progress of a webhook.
pub struct Checkpoint {
    store: MongoStore,
    id: WebhookId,
    version: i64,
    stored_at: Instant,
    /// The progress, with what is not stored yet.
    pub progress: WebhookProgress,
}

impl Checkpoint {
    /// Takes the checkpoint over: a former leader can't store it any more. `replaced` is the version that was read.
    ///
    /// # Errors
    /// [`Superseded`], or the database can't be reached.
    pub async fn take_over(
        store: MongoStore,
        id: WebhookId,
        replaced: Option<i64>,
        progress: WebhookProgress,
    ) -> Result<Self, Cause> {
        let version = stored(store.save_webhook_progress(id, replaced, &progress).await?)?;
        Ok(Self { store, id, version, stored_at: Instant::now(), progress })
    }

    /// Stores the progress.
    ///
    /// # Errors
    /// As [`Checkpoint::take_over`].
    pub async fn save(&mut self) -> Result<(), Cause> {
        let saved = self.store.save_webhook_progress(self.id, Some(self.version), &self.progress).await?;
        self.version = stored(saved)?;
        self.stored_at = Instant::now();
        Ok(())
    }

    /// Stores the progress if that is due although nothing was delivered.
    ///
    /// # Errors
    /// As [`Checkpoint::take_over`].
    pub async fn save_quiet(&mut self) -> Result<(), Cause> {
        if self.stored_at.elapsed() < QUIET_INTERVAL { Ok(()) } else { self.save().await }
    }

    /// Adds an attempt to those that are kept.
    pub fn note(&mut self, attempt: DeliveryAttempt) {
        self.progress.attempts.insert(0, attempt);
        self.progress.attempts.truncate(MAX_ATTEMPTS_KEPT);
    }
}

fn stored(saved: Saved) -> Result<i64, Superseded> {
    match saved {
        Saved::As(version) => Ok(version),
        Saved::Superseded => Err(Superseded),
    }
}
