//! The port to the checkpoints of webhooks.

use std::collections::BTreeMap;

use dockhost_domain::ids::WebhookId;
use dockhost_projections::store::WebhookProgress;
use dockhost_projections::{MongoStore, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Reads how far webhooks are, to show it.
pub trait ProgressStore: Send + Sync + 'static {
    /// How far these webhooks are; those of which nothing is known are absent.
    fn progress(&self, ids: Vec<WebhookId>) -> BoxFuture<'_, Result<BTreeMap<WebhookId, WebhookProgress>, StoreError>>;
}

impl ProgressStore for MongoStore {
    fn progress(&self, ids: Vec<WebhookId>) -> BoxFuture<'_, Result<BTreeMap<WebhookId, WebhookProgress>, StoreError>> {
        async move {
            let found = self.webhook_progress(&ids).await?;
            Ok(found.into_iter().map(|(id, (_, progress))| (id, progress)).collect())
        }
        .boxed()
    }
}
