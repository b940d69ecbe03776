//! Asking the server whether an assignment still stands.
//!
//! In: an assignment that calls for a container that isn't there. Out: yes or no, or that nobody answered. A port, so that
//! the reconciler can be tested without a broker. What the consumer hands out is no proof: a node of the broker that was
//! killed replays, while it catches up, what was removed long ago, and a deleted instance is not to be made again.

use std::time::Duration;

use async_nats::Client;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Assignment, Confirm, Confirmed};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::connect::{RequestError, request};
use crate::key::ApiKey;

/// How long one answer may take.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

/// Knows whether an assignment stands.
pub trait Confirmer: Send + Sync + 'static {
    /// Whether exactly this is wanted now.
    fn is_current<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>>;
}

/// The main server, on the backend's own subject.
#[derive(Debug, Clone)]
pub struct ConfirmClient {
    client: Client,
    subject: String,
}

impl ConfirmClient {
    /// The subject of the key's backend.
    #[must_use]
    pub fn new(client: Client, key: &ApiKey) -> Self {
        Self { client, subject: Channel::Confirm(key.backend()).to_string() }
    }

    async fn request(&self, assignment: &Assignment) -> Result<bool, RequestError> {
        let Assignment { instance_id, placement, generation, .. } = *assignment;
        let body = Confirm { instance_id, placement, generation };
        let confirmed: Confirmed = request(&self.client, self.subject.clone(), &body, CONFIRM_TIMEOUT).await?;
        Ok(confirmed.is_current)
    }
}

impl Confirmer for ConfirmClient {
    fn is_current<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>> {
        self.request(assignment).boxed()
    }
}
