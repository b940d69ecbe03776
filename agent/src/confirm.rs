//! Asks the server whether an assignment is still current.
//!
//! The consumer's delivery does not prove that: a broker node that was killed may, while it catches up, deliver
//! assignments that were removed long ago, and a deleted instance must not be created again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use dockhost_domain::ids::AgentRunId;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Assignment, Confirm, Confirmed};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::connect::{RequestError, request};
use crate::key::ApiKey;

/// Timeout of one request.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests that wait for an answer at once. The server limits how many it answers per second, and takes an agent that asks
/// for much more to be hostile (`src/broker/agent_limits.rs`).
const MAX_CONCURRENT_REQUESTS: usize = 16;

/// Tells whether an assignment is current.
pub trait Confirmer: Send + Sync + 'static {
    /// Whether the server still has exactly this assignment.
    fn is_current<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>>;
}

/// Asks the main server, on the backend's own subject.
#[derive(Debug, Clone)]
pub struct ConfirmClient {
    client: Client,
    subject: String,
    run: AgentRunId,
    places: Arc<Semaphore>,
}

impl ConfirmClient {
    /// A client for the key's backend.
    #[must_use]
    pub fn new(client: Client, key: &ApiKey, run: AgentRunId) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
        Self { client, subject: Channel::Confirm(key.backend()).to_string(), run, places }
    }

    async fn request(&self, assignment: &Assignment) -> Result<bool, RequestError> {
        let Assignment { instance_id, placement, generation, .. } = *assignment;
        let body = Confirm { instance_id, placement, generation, agent_run: Some(self.run) };
        // The semaphore is never closed.
        let _place = self.places.acquire().await;
        let confirmed: Confirmed = request(&self.client, self.subject.clone(), &body, CONFIRM_TIMEOUT).await?;
        Ok(confirmed.is_current)
    }
}

impl Confirmer for ConfirmClient {
    fn is_current<'a>(&'a self, assignment: &'a Assignment) -> BoxFuture<'a, Result<bool, RequestError>> {
        self.request(assignment).boxed()
    }
}
