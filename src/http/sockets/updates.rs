//! What a connected client is sent: the messages of its event stream.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connect::Connected;
use crate::http::app::App;
use crate::http::events::{self, Begin, Caller, Item, Message, Reader, StreamRequest};
use crate::http::past::audit::AuditFilter;

/// The type of the events about backends.
const BACKENDS: &str = "backend";
/// How long a message waits for a client that does not read, until it is tried again.
const FULL_INTERVAL: Duration = Duration::from_millis(50);
/// The pause before a stream that could not go on is opened again.
const RETRY: std::ops::Range<u64> = 1000..5000;

/// The client does not exist any more.
struct Gone;

/// Why a stream ended.
enum Ended {
    /// The client is gone, or this replica shuts down.
    ForGood,
    /// The session ended.
    Unauthorized,
    /// This replica can't read the log or the read models now.
    Unavailable,
}

/// Sends a client what concerns it until it is gone.
pub async fn send(app: &Arc<App>, socket: SocketRef) {
    let Some(connected) = socket.extensions.get::<Connected>() else { return };
    let gone = CancellationToken::new();
    let at_end = gone.clone();
    socket.on_disconnect(async move || at_end.cancel());
    let _connected = app.metrics.state.connect_socket_io_client();
    let Connected { caller, is_admin, begin } = connected;
    let reader = match caller {
        Caller::User { user_id, .. } => Reader::Owner(user_id),
        Caller::Backend { backend_id, .. } => Reader::Machine(backend_id),
    };
    let own = StreamRequest { caller, reader, begin };
    let of_backends = match caller {
        Caller::User { user_id, session_id, .. } if is_admin => {
            let filter = AuditFilter { kind: Some(BACKENDS.to_owned()), ..AuditFilter::default() };
            let caller = Caller::User { user_id, session_id, needs_admin: true };
            Some(StreamRequest { caller, reader: Reader::Administrator(filter), begin })
        }
        _ => None,
    };
    let client = Client { app: Arc::clone(app), socket };
    let follow = async {
        match of_backends {
            Some(of_backends) => {
                tokio::join!(client.follow(own, true), client.follow(of_backends, false));
            }
            None => client.follow(own, true).await,
        }
    };
    gone.run_until_cancelled(follow).await;
}

struct Client {
    app: Arc<App>,
    socket: SocketRef,
}

impl Client {
    /// Sends the messages of a stream until it has ended for good. A client whose session ends is disconnected, by the
    /// stream that is its own (`is_own`).
    async fn follow(&self, mut request: StreamRequest, is_own: bool) {
        loop {
            let ended = match events::watch(&self.app, request.clone()) {
                Ok(items) => self.forward(items, &mut request.begin, is_own).await,
                Err(error) => {
                    tracing::debug!(code = error.code().as_str(), "no stream for a Socket.IO client");
                    Ended::Unavailable
                }
            };
            match ended {
                Ended::ForGood => return,
                Ended::Unauthorized => {
                    if is_own {
                        // It may be gone already.
                        let _ = self.socket.clone().disconnect();
                    }
                    return;
                }
                Ended::Unavailable => sleep(Duration::from_millis(rand::random_range(RETRY))).await,
            }
        }
    }

    async fn forward(&self, mut items: Receiver<Item>, begin: &mut Begin, is_own: bool) -> Ended {
        while let Some(item) = items.recv().await {
            let Item::Message(message) = item else { continue };
            if message.name == "end" {
                return match message.data["reason"].as_str() {
                    Some("unauthorized") => Ended::Unauthorized,
                    Some("unavailable") => Ended::Unavailable,
                    _ => Ended::ForGood,
                };
            }
            if let Some(after) = message.id.as_deref().and_then(|id| Begin::after(&self.app, id).ok()) {
                *begin = after;
            }
            // Both streams of an administrator have these.
            let is_of_the_stream = matches!(message.name.as_str(), "ready" | "reset");
            if is_of_the_stream && !is_own {
                continue;
            }
            let (name, data) = payload(message);
            if self.emit(name, &data).await.is_err() {
                return Ended::ForGood;
            }
        }
        Ended::ForGood
    }

    /// Waits as long as too many messages wait for the client.
    async fn emit(&self, name: String, data: &Value) -> Result<(), Gone> {
        loop {
            match self.socket.emit(name.clone(), data) {
                Ok(()) => return Ok(()),
                Err(SendError::Socket(SocketError::InternalChannelFull)) => sleep(FULL_INTERVAL).await,
                Err(error) => {
                    tracing::debug!(%error, "a Socket.IO client is gone");
                    return Err(Gone);
                }
            }
        }
    }
}

/// The documented form of a message: the members of the instance or the backend, the event, and the position.
fn payload(Message { id, name, data }: Message) -> (String, Value) {
    let mut members = match data {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let mut flat = Map::new();
    let mut name = name;
    for changed in ["instance", BACKENDS] {
        if let Some(Value::Object(object)) = members.remove(changed) {
            flat = object;
            if changed == BACKENDS {
                "backend-status".clone_into(&mut name);
                // As it is documented for Socket.IO.
                if let Some(id) = flat.get("id").cloned() {
                    flat.insert("backendId".to_owned(), id);
                }
            }
        }
    }
    flat.append(&mut members);
    if let Some(id) = id {
        flat.insert("position".to_owned(), id.into());
    }
    (name, Value::Object(flat))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(name: &str, data: Value) -> Message {
        Message { id: Some("log.7".to_owned()), name: name.to_owned(), data }
    }

    #[test]
    fn payload_has_the_members_of_what_changed() {
        let changed =
            json!({ "event": { "type": "observed" }, "instance": { "instanceId": "a", "status": "running" } });
        let (name, data) = payload(message("instance-updated", changed));
        assert_eq!(name, "instance-updated");
        let expected =
            json!({ "instanceId": "a", "status": "running", "event": { "type": "observed" }, "position": "log.7" });
        assert_eq!(data, expected);

        let changed = json!({ "event": {}, "backend": { "id": "b", "status": "connected" } });
        let (name, data) = payload(message("backend-updated", changed));
        assert_eq!(name, "backend-status");
        let expected = json!({ "id": "b", "backendId": "b", "status": "connected", "event": {}, "position": "log.7" });
        assert_eq!(data, expected);
    }

    #[test]
    fn payload_of_other_messages_is_their_data_and_the_position() {
        let (name, data) = payload(message("reset", json!({ "reason": "lagged" })));
        assert_eq!((name.as_str(), data), ("reset", json!({ "reason": "lagged", "position": "log.7" })));
    }
}
