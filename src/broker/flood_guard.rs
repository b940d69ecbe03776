//! Cuts a backend that floods off: all replicas refuse its key for a while, and its connections are closed.
//!
//! Closing needs the broker's system account. Without its key a connection ends when it has to authenticate again, after
//! at most ten minutes; until then its messages are dropped unread.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::BackendId;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::agent_gate::{AgentGate, REFUSED_FOR};
use super::connect::Broker;
use super::kick::Kick;
use crate::common::error::chain;

/// A replica announces here which backend floods; the body is its id. Backends can't publish here.
const REFUSED_SUBJECT: &str = "dockhost.refused";
/// How often the number of dropped messages is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Cuts backends off that flood.
pub struct FloodGuard {
    /// The server's own connection.
    pub broker: Broker,
    /// Refuses backends.
    pub gate: Arc<AgentGate>,
    /// Closes their connections.
    pub kick: Kick,
}

impl FloodGuard {
    /// Works until cancelled.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), async_nats::SubscribeError> {
        let mut announced = self.broker.client().subscribe(REFUSED_SUBJECT).await?;
        let mut log = tokio::time::interval(LOG_INTERVAL);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                backend = self.gate.next_flood() => self.cut_off(backend).await,
                Some(message) = announced.next() => {
                    let backend = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
                    if let Some(backend) = backend {
                        self.gate.refuse(backend);
                    }
                }
                _ = log.tick() => {
                    for (backend, messages) in self.gate.take_dropped() {
                        tracing::warn!(%backend, messages, "messages of a backend dropped unread: it sends too many");
                    }
                }
            }
        }
    }

    async fn cut_off(&self, backend: BackendId) {
        tracing::warn!(%backend, seconds = REFUSED_FOR.as_secs(), "a backend floods; its key is refused for a while");
        if let Err(error) = self.broker.client().publish(REFUSED_SUBJECT, backend.to_string().into()).await {
            tracing::warn!(%backend, %error, "the other replicas were not told that a backend floods");
        }
        // In a task of its own, so that the next flood does not wait.
        let kick = self.kick.clone();
        tokio::spawn(async move {
            match kick.close_connections(backend).await {
                Ok(closed) => tracing::info!(%backend, closed, "connections of a flooding backend closed"),
                Err(error) => {
                    tracing::warn!(%backend, error = chain(&*error), "connections of a flooding backend not closed");
                }
            }
        });
    }
}
