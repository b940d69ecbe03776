//! Checks whether the broker syncs each write to disk before it acknowledges it.
//!
//! Each node has its own setting, which only the system account can ask for and this server cannot change. A wrong one
//! is logged as an error but does not prevent the start: with three nodes in three failure domains it may be intended.

use secrecy::SecretString;
use serde::Deserialize;

use super::system_account::{AskError, Reply, Topic, ask, connect};

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
    fn record(&mut self, reply: Reply<JszData>) {
        let Some(data) = reply.data else { return };
        if data.disabled {
            // Its configuration is empty, and says nothing about how it would sync.
            self.disabled.push(reply.server.name);
            return;
        }
        let Some(config) = data.config else { return };
        self.nodes_answered += 1;
        if !config.sync_always {
            self.unsynced.push(reply.server.name);
        }
    }
}

/// Queries every node with the system account's key.
///
/// # Errors
/// [`AskError`].
pub async fn query(url: &str, system: &SecretString) -> Result<Durability, AskError> {
    let mut durability = Durability::default();
    let broker = connect(url, system, "dockhost-durability").await?;
    for reply in ask(&broker, Topic::JetStream, String::new()).await? {
        durability.record(reply);
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
        for reply in [
            r#"{"server":{"name":"a"},"data":{"config":{"sync_always":true}}}"#,
            r#"{"server":{"name":"b"},"data":{"config":{"sync_interval":120000000000}}}"#,
            r#"{"server":{"name":"c"},"data":{"disabled":true,"config":{"max_memory":0,"max_storage":0}}}"#,
            r#"{"server":{"name":"d"}}"#,
        ] {
            durability.record(serde_json::from_str(reply).unwrap());
        }
        assert_eq!(
            durability,
            Durability { nodes_answered: 2, unsynced: vec!["b".to_owned()], disabled: vec!["c".to_owned()] }
        );
    }
}
