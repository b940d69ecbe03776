//! Cuts a backend that floods off: all replicas refuse its key for a while, and its connections are closed.
//!
//! Closing needs the broker's system account. Without its key a connection ends when it has to authenticate again, after
//! at most ten minutes; until then its messages are dropped unread.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::BackendId;
use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::agent_gate::{AgentGate, REFUSED_FOR};
use super::connect::Broker;
use crate::common::error::{Cause, chain};

/// A replica announces here which backend floods; the body is its id. Backends can't publish here.
const REFUSED_SUBJECT: &str = "dockhost.refused";
/// How often the number of dropped messages is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// A connection that was being opened is not listed yet, so the list is read several times.
const CLOSE_ATTEMPTS: u32 = 3;
const CLOSE_INTERVAL: Duration = Duration::from_secs(1);
/// After this long without a reply, all nodes have replied.
const MAX_REPLY_GAP: Duration = Duration::from_millis(500);
/// Connections of one backend that a node lists.
const MAX_LISTED: usize = 1024;

/// Cuts backends off that flood.
pub struct FloodGuard {
    /// The server's own connection.
    pub broker: Broker,
    /// Refuses backends.
    pub gate: Arc<AgentGate>,
    /// The broker's address, for the system account.
    pub nats_url: String,
    /// The key of the system account.
    pub system: Option<SecretString>,
}

#[derive(Deserialize)]
struct ConnectionsReply {
    server: Server,
    data: Option<Connections>,
}

#[derive(Deserialize)]
struct Server {
    id: String,
}

#[derive(Deserialize)]
struct Connections {
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    cid: u64,
    #[serde(default)]
    authorized_user: String,
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
        let Some(system) = self.system.clone() else {
            return tracing::warn!(%backend, "its connections stay open: DOCKHOST_NATS_SYS_CREDS is not set");
        };
        // In a task of its own, so that the next flood does not wait.
        let url = self.nats_url.clone();
        tokio::spawn(async move {
            match close_connections(&url, &system, backend).await {
                Ok(closed) => tracing::info!(%backend, closed, "connections of a flooding backend closed"),
                Err(error) => {
                    tracing::warn!(%backend, error = chain(&*error), "connections of a flooding backend not closed");
                }
            }
        });
    }
}

/// Closes the backend's connections on every node; returns their number.
async fn close_connections(url: &str, system: &SecretString, backend: BackendId) -> Result<u64, Cause> {
    let broker = Broker::connect(url, system, "dockhost-flood-guard", Duration::ZERO).await?;
    let client = broker.client();
    let backend = backend.to_string();
    let mut closed = 0;
    for attempt in 0..CLOSE_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(CLOSE_INTERVAL).await;
        }
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await?;
        let filter = json!({ "auth": true, "user": backend, "limit": MAX_LISTED }).to_string();
        client.publish_with_reply("$SYS.REQ.SERVER.PING.CONNZ", inbox, filter.into()).await?;
        while let Ok(Some(reply)) = tokio::time::timeout(MAX_REPLY_GAP, replies.next()).await {
            let Ok(ConnectionsReply { server, data: Some(data) }) = serde_json::from_slice(&reply.payload) else {
                continue;
            };
            for connection in data.connections.iter().filter(|connection| connection.authorized_user == backend) {
                let kick = json!({ "cid": connection.cid }).to_string();
                client.request(format!("$SYS.REQ.SERVER.{}.KICK", server.id), kick.into()).await?;
                closed += 1;
            }
        }
    }
    Ok(closed)
}
