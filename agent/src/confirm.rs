//! Asking the server whether an assignment still stands.
//!
//! In: an assignment that calls for a container that isn't there. Out: yes or no, or that nobody answered. A port, so that
//! the reconciler can be tested without a broker. What the consumer hands out is no proof: a node of the broker that was
//! killed replays, while it catches up, what was removed long ago, and a deleted instance is not to be made again.

use std::time::Duration;

use async_nats::{Client, Request};
use bytes::Bytes;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Assignment, Confirm, Confirmed};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::key::ApiKey;

/// A replica that the broker believes to be there may be cut off; the next question goes to another one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Nobody could say; it is asked again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Knows whether an assignment stands.
pub trait Confirmer: Send + Sync + 'static {
    /// Whether exactly this is wanted now.
    fn stands<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, NoAnswer>>;
}

/// The main server, on the backend's own subject.
#[derive(Debug, Clone)]
pub struct ConfirmSubject {
    client: Client,
    subject: String,
}

impl ConfirmSubject {
    /// The subject of the key's backend.
    #[must_use]
    pub fn new(client: Client, key: &ApiKey) -> Self {
        Self { client, subject: Channel::Confirm(key.backend()).to_string() }
    }

    async fn ask(&self, assignment: &Assignment) -> Result<bool, NoAnswer> {
        let Assignment { instance_id, placement, generation, .. } = *assignment;
        let body = serde_json::to_vec(&Confirm { instance_id, placement, generation })
            .map_err(|error| NoAnswer(error.to_string()))?;
        let request = Request::new().payload(Bytes::from(body)).timeout(Some(PATIENCE));
        let answer = self.client.send_request(self.subject.clone(), request).await;
        let answer = answer.map_err(|error| NoAnswer(error.to_string()))?;
        let confirmed: Confirmed = serde_json::from_slice(&answer.payload)
            .map_err(|error| NoAnswer(format!("its answer says neither yes nor no: {error}")))?;
        Ok(confirmed.stands)
    }
}

impl Confirmer for ConfirmSubject {
    fn stands<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, NoAnswer>> {
        self.ask(assignment).boxed()
    }
}
