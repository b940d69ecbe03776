//! Checks whether the broker syncs each write to disk before it acknowledges it.
//!
//! Each node has its own setting, which only the system account can ask for and this server cannot change. A wrong one
//! is logged as an error but does not prevent the start: with three nodes in three failure domains it may be intended.

use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;

use super::connect::{Broker, ConnectError};

const JSZ_REQUEST_SUBJECT: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// After this long without a reply, all nodes have replied.
const MAX_REPLY_GAP: Duration = Duration::from_millis(500);

/// The settings that the nodes replied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// How many nodes with JetStream replied.
    pub nodes_answered: usize,
    /// The names of those that acknowledge before they sync.
    pub unsynced: Vec<String>,
    /// The names of those whose JetStream is disabled, as after a full disk: they keep no copies.
    pub disabled: Vec<String>,
}

/// The nodes could not be queried.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// No connection with the system account's key.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request could not be sent.
    #[error("the broker's nodes can't be queried")]
    Request(#[source] async_nats::Error),
}

#[derive(Deserialize)]
struct JszReply {
    server: ServerInfo,
    data: Option<JszData>,
}

#[derive(Deserialize)]
struct ServerInfo {
    name: String,
}

#[derive(Deserialize)]
struct JszData {
    #[serde(default)]
    disabled: bool,
    config: Option<JszConfig>,
}

#[derive(Deserialize)]
struct JszConfig {
    #[serde(default)]
    sync_always: bool,
}

impl Durability {
    /// Records one node's reply, unless it says nothing about JetStream.
    fn record(&mut self, reply: &[u8]) {
        let Ok(JszReply { server, data }) = serde_json::from_slice::<JszReply>(reply) else { return };
        let Some(data) = data else { return };
        if data.disabled {
            // Its configuration is empty, and says nothing about how it would sync.
            self.disabled.push(server.name);
            return;
        }
        let Some(config) = data.config else { return };
        self.nodes_answered += 1;
        if !config.sync_always {
            self.unsynced.push(server.name);
        }
    }
}

/// Queries every node with the system account's key.
///
/// # Errors
/// [`DurabilityError`].
pub async fn query(url: &str, system: &SecretString) -> Result<Durability, DurabilityError> {
    let broker = Broker::connect(url, system, "dockhost-durability", Duration::ZERO).await?;
    let client = broker.client();
    let inbox = client.new_inbox();
    let failed = |error: async_nats::Error| DurabilityError::Request(error);
    let mut replies = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
    let request = client.publish_with_reply(JSZ_REQUEST_SUBJECT, inbox, "".into()).await;
    request.map_err(|error| failed(error.into()))?;
    let mut durability = Durability::default();
    while let Ok(Some(reply)) = tokio::time::timeout(MAX_REPLY_GAP, replies.next()).await {
        durability.record(&reply.payload);
    }
    Ok(durability)
}

/// Queries every node and logs the result.
pub async fn check(url: &str, system: Option<&SecretString>) {
    let Some(system) = system else {
        return tracing::warn!("DOCKHOST_NATS_SYS_CREDS is not set: not checking whether the broker syncs each write");
    };
    let found = query(url, system).await;
    if let Ok(Durability { disabled, .. }) = &found
        && !disabled.is_empty()
    {
        tracing::error!(
            nodes = ?disabled,
            "nodes of the broker have JetStream disabled and keep no copies; if their disk was full, make room and restart \
             them"
        );
    }
    match found {
        Ok(Durability { nodes_answered: 0, disabled, .. }) if disabled.is_empty() => {
            tracing::warn!("no node of the broker replied whether it syncs each write");
        }
        Ok(Durability { nodes_answered, unsynced, .. }) if unsynced.is_empty() => {
            tracing::debug!(nodes = nodes_answered, "the broker syncs each write");
        }
        Ok(Durability { unsynced, .. }) => tracing::error!(
            nodes = ?unsynced,
            "the broker acknowledges writes before it syncs them: a power failure loses acknowledged events; \
             set `sync_interval: always` in its `jetstream` block"
        ),
        Err(error) => tracing::warn!(%error, "checking whether the broker syncs each write failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_record_counts_jetstream_nodes_and_names_unsynced_ones() {
        let mut durability = Durability::default();
        durability.record(br#"{"server":{"name":"a"},"data":{"config":{"sync_always":true}}}"#);
        durability.record(br#"{"server":{"name":"b"},"data":{"config":{"sync_interval":120000000000}}}"#);
        durability
            .record(br#"{"server":{"name":"c"},"data":{"disabled":true,"config":{"max_memory":0,"max_storage":0}}}"#);
        durability.record(b"nonsense");
        assert_eq!(
            durability,
            Durability { nodes_answered: 2, unsynced: vec!["b".to_owned()], disabled: vec!["c".to_owned()] }
        );
    }
}
