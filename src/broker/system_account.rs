//! Asks every node of the broker about itself, with the key of the system account.

use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connect::{Broker, ConnectError};

/// After this long without a reply, all nodes have replied.
const MAX_REPLY_GAP: Duration = Duration::from_millis(500);

/// What nodes are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// JetStream.
    JetStream,
    /// Connections.
    Connections,
}

impl Topic {
    const fn subject(self) -> &'static str {
        match self {
            Self::JetStream => "$SYS.REQ.SERVER.PING.JSZ",
            Self::Connections => "$SYS.REQ.SERVER.PING.CONNZ",
        }
    }
}

/// The nodes could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection with the system account's key.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request could not be sent.
    #[error("the broker's nodes can't be asked")]
    Request(#[source] async_nats::Error),
}

/// One node's reply.
#[derive(Debug, Deserialize)]
pub struct Reply<T> {
    /// The node.
    pub server: Server,
    /// What it says about the topic; absent if it has none of that.
    pub data: Option<T>,
}

/// The sender of a reply.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A connection with the key of the system account; `name` shows in the broker's list of connections.
///
/// # Errors
/// [`AskError::Connect`].
pub async fn connect(url: &str, system: &SecretString, name: &str) -> Result<Broker, AskError> {
    Ok(Broker::connect(url, system, name, Duration::ZERO).await?)
}

/// The replies of all nodes, without those that can't be read. `options` are those of the topic, as JSON, or empty.
///
/// # Errors
/// [`AskError::Request`].
pub async fn ask<T: DeserializeOwned>(
    broker: &Broker,
    topic: Topic,
    options: String,
) -> Result<Vec<Reply<T>>, AskError> {
    let client = broker.client();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| AskError::Request(error.into()))?;
    let request = client.publish_with_reply(topic.subject(), inbox, options.into()).await;
    request.map_err(|error| AskError::Request(error.into()))?;
    let mut replies = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(MAX_REPLY_GAP, messages.next()).await {
        replies.extend(serde_json::from_slice::<Reply<T>>(&message.payload));
    }
    Ok(replies)
}
