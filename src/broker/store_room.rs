//! How much room the store of each node of the broker has: all streams together, not only the log.
//!
//! Only the system account may ask: the server's own account gets to know its limits and what its streams take, of all nodes
//! together. A node knows what its streams take and how much it may store in all, by `max_file_store` or else by what was free
//! when it started; no request tells how full its disk is now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::system_account::{AskError, Reply, Topic, ask, connect};
use crate::common::error::chain;

/// How often the nodes are asked.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// From this percentage on, a store or a log is nearly full: time to act.
pub const NEARLY_FULL_PERCENT: u64 = 85;

/// The store of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoom {
    /// The node's name.
    pub node: String,
    /// Bytes that its streams take.
    pub used: u64,
    /// Bytes that they may take.
    pub max: u64,
}

impl NodeRoom {
    /// Bytes that its streams may still take.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }

    /// Whether it is time to act.
    #[must_use]
    pub const fn is_nearly_full(&self) -> bool {
        self.percent() >= NEARLY_FULL_PERCENT
    }

    /// The used part, in per cent.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        match self.used.saturating_mul(100).checked_div(self.max) {
            Some(percent) => percent,
            None => 0,
        }
    }
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    storage: u64,
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    max_storage: u64,
}

async fn ask_nodes(url: &str, system: &SecretString) -> Result<Vec<Reply<Data>>, AskError> {
    let broker = connect(url, system, "dockhost-store").await?;
    ask(&broker, Topic::JetStream, String::new()).await
}

/// The node whose store is fullest, by the nodes' replies; `None` if none has a limit.
fn fullest(replies: &[Reply<Data>]) -> Option<NodeRoom> {
    let rooms = replies.iter().filter_map(|reply| {
        let data = reply.data.as_ref().filter(|data| !data.disabled)?;
        let max = data.config.as_ref()?.max_storage;
        (max > 0).then(|| NodeRoom { node: reply.server.name.clone(), used: data.storage, max })
    });
    rooms.max_by_key(NodeRoom::percent)
}

/// What was last heard of the nodes' stores.
#[derive(Debug, Default)]
pub struct StoreRoom(Mutex<Option<NodeRoom>>);

impl StoreRoom {
    /// The node whose store is fullest; `None` if that is not known.
    #[must_use]
    pub fn fullest(&self) -> Option<NodeRoom> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the nodes until cancelled; never without the key of the system account.
    pub async fn run(self: Arc<Self>, url: String, system: Option<SecretString>, cancel: CancellationToken) {
        let Some(system) = system else { return cancel.cancelled().await };
        let mut was_high = false;
        loop {
            let Some(asked) = cancel.run_until_cancelled(ask_nodes(&url, &system)).await else {
                return;
            };
            // While the nodes don't answer, nothing is known.
            let fullest = match asked {
                Ok(replies) => fullest(&replies),
                Err(error) => {
                    tracing::debug!(error = chain(&error), "the broker's nodes did not say how full they are");
                    None
                }
            };
            if let Some(room) = &fullest {
                log_change(&mut was_high, room);
            }
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fullest;
            if cancel.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_none() {
                return;
            }
        }
    }
}

fn log_change(was_high: &mut bool, room: &NodeRoom) {
    let (node, bytes_left, percent) = (&room.node, room.left(), room.percent());
    let is_high = room.is_nearly_full();
    match (std::mem::replace(was_high, is_high), is_high) {
        (false, true) => tracing::warn!(
            node,
            bytes_left,
            percent,
            "the store of a node of the broker is nearly full; give it more room (max_file_store, or a larger disk and a \
             restart of that nats-server)"
        ),
        (true, false) => {
            tracing::info!(node, bytes_left, percent, "the stores of the broker's nodes have room again");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fullest_is_the_node_with_the_highest_used_part() {
        let reply = |text: &str| serde_json::from_str::<Reply<Data>>(text).unwrap();
        let roomy = reply(r#"{"server":{"name":"a"},"data":{"storage":10,"config":{"max_storage":1000}}}"#);
        let full = reply(r#"{"server":{"name":"b"},"data":{"storage":860,"config":{"max_storage":1000}}}"#);
        let disabled = reply(r#"{"server":{"name":"c"},"data":{"disabled":true,"config":{"max_storage":0}}}"#);
        let found = fullest(&[roomy, full, disabled]).unwrap();
        assert_eq!((found.node.as_str(), found.left(), found.percent()), ("b", 140, 86));
        assert_eq!(fullest(&[]), None);
        assert_eq!(NodeRoom { node: String::new(), used: 7, max: 5 }.left(), 0);
    }
}
