//! Asks every node of the broker about its JetStream, with the key of the system account.

use std::time::Duration;

use futures::StreamExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connect::{Broker, ConnectError};

const REQUEST_SUBJECT: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// After this long without a reply, all nodes have replied.
const MAX_REPLY_GAP: Duration = Duration::from_millis(500);

/// The nodes could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum JszError {
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
    /// What it says about JetStream; absent without JetStream.
    pub data: Option<T>,
}

/// The sender of a reply.
#[derive(Debug, Deserialize)]
pub struct Server {
    /// Its name.
    pub name: String,
}

/// The replies of all nodes, without those that can't be read.
///
/// # Errors
/// [`JszError`].
pub async fn ask<T: DeserializeOwned>(url: &str, system: &SecretString, name: &str) -> Result<Vec<Reply<T>>, JszError> {
    let broker = Broker::connect(url, system, name, Duration::ZERO).await?;
    let client = broker.client();
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| JszError::Request(error.into()))?;
    let request = client.publish_with_reply(REQUEST_SUBJECT, inbox, "".into()).await;
    request.map_err(|error| JszError::Request(error.into()))?;
    let mut replies = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(MAX_REPLY_GAP, messages.next()).await {
        replies.extend(serde_json::from_slice::<Reply<T>>(&message.payload));
    }
    Ok(replies)
}
