//! Whether an acknowledged event is on the disk: a setting of the broker's nodes, asked of each.
//!
//! In: the system account's key. Out: the nodes that answered, and those that do not sync each write. The setting is
//! not the server's to change, so a wrong one is a loud warning and no refusal: on three nodes of three failure domains
//! somebody may mean it.

use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;

use super::connect::{Broker, ConnectError};

const JSZ_REQUEST_SUBJECT: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// The last node has answered when nothing came for this long.
const MAX_REPLY_GAP: Duration = Duration::from_millis(500);

/// What the nodes said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Durability {
    /// Nodes that answered.
    pub nodes_answered: usize,
    /// Those that acknowledge before the disk has it.
    pub unsynced: Vec<String>,
}

/// The nodes could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    /// No connection with the system account's key.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection did not take the question.
    #[error("the broker's nodes can't be asked")]
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
    config: Option<JszConfig>,
}

#[derive(Deserialize)]
struct JszConfig {
    #[serde(default)]
    sync_always: bool,
}

impl Durability {
    /// Counts one node's answer; one without JetStream keeps no events.
    fn record(&mut self, answer: &[u8]) {
        let Ok(JszReply { server, data }) = serde_json::from_slice::<JszReply>(answer) else { return };
        let Some(config) = data.and_then(|data| data.config) else { return };
        self.nodes_answered += 1;
        if !config.sync_always {
            self.unsynced.push(server.name);
        }
    }
}

/// Asks every node.
///
/// # Errors
/// [`DurabilityError`].
pub async fn query(url: &str, system: &SecretString) -> Result<Durability, DurabilityError> {
    let broker = Broker::connect(url, system, "dockhost-durability", Duration::ZERO).await?;
    let client = broker.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| DurabilityError::Request(error.into()))?;
    client
        .publish_with_reply(JSZ_REQUEST_SUBJECT, inbox, "".into())
        .await
        .map_err(|error| DurabilityError::Request(error.into()))?;
    let mut found = Durability::default();
    while let Ok(Some(answer)) = tokio::time::timeout(MAX_REPLY_GAP, answers.next()).await {
        found.record(&answer.payload);
    }
    Ok(found)
}

/// Asks, and says loudly what is not as it should be.
pub async fn check(url: &str, system: Option<&SecretString>) {
    let Some(system) = system else {
        return tracing::warn!(
            "DOCKHOST_NATS_SYS_CREDS is not set: whether the broker syncs each write is not checked"
        );
    };
    match query(url, system).await {
        Ok(found) if found.nodes_answered == 0 => {
            tracing::warn!("no node of the broker said whether it syncs each write")
        }
        Ok(found) if found.unsynced.is_empty() => {
            tracing::debug!(nodes = found.nodes_answered, "the broker syncs each write")
        }
        Ok(found) => tracing::error!(
            nodes = ?found.unsynced,
            "the broker acknowledges before the disk has it: a power cut loses acknowledged events; \
             set `sync_interval: always` in its `jetstream` block"
        ),
        Err(error) => tracing::warn!(%error, "whether the broker syncs each write could not be checked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_sync_late_are_named_and_nodes_without_streams_are_not_counted() {
        let mut found = Durability::default();
        found.record(br#"{"server":{"name":"a"},"data":{"config":{"sync_always":true}}}"#);
        found.record(br#"{"server":{"name":"b"},"data":{"config":{"sync_interval":120000000000}}}"#);
        found.record(br#"{"server":{"name":"c"},"data":{"disabled":true}}"#);
        found.record(b"nonsense");
        assert_eq!(found, Durability { nodes_answered: 2, unsynced: vec!["b".to_owned()] });
    }
}
