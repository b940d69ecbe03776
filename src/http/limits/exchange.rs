//! The replicas tell each other what counts on all of them. A lost message only makes a limit less strict.

use std::sync::Arc;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Note, Notes, RateLimits};

/// The subject of these messages, in the servers' account at the broker; the payload is JSON.
const SUBJECT: &str = "dockhost.limits";

#[derive(Serialize, Deserialize)]
struct Message {
    /// The replica that sends it.
    from: String,
    note: Note,
}

/// Sends this replica's notes and applies those of the others, until cancelled.
///
/// # Errors
/// The subscription could not be made.
pub async fn run(
    limits: Arc<RateLimits>,
    Notes(mut notes): Notes,
    replica: String,
    client: async_nats::Client,
    cancel: CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    let mut messages = client.subscribe(SUBJECT).await?;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            Some(note) = notes.recv() => {
                let message = serde_json::to_vec(&Message { from: replica.clone(), note });
                // Without the broker there is nobody to tell.
                if let (Ok(message), async_nats::connection::State::Connected) = (message, client.connection_state()) {
                    let _ = client.publish(SUBJECT, message.into()).await;
                }
            }
            Some(message) = messages.next() => {
                if let Ok(Message { from, note }) = serde_json::from_slice(&message.payload)
                    && from != replica
                {
                    limits.apply(note);
                }
            }
            else => return Ok(()),
        }
    }
}
