//! The connection to the broker, and the requests that need no stream.
//!
//! In: the API key and the broker's address. Out: a client that reconnects for ever, a number that rises with each
//! connection, and word when the broker refuses the key. A refused key is not given up: the door is the main server's,
//! and while that is down every key is refused. Whoever wants an exit instead asks for it (`--exit-on-refused`).

use std::time::Duration;

use async_nats::{
    Client, ClientError, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Request, ServerAddr, ServerError,
};
use bytes::Bytes;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::Report;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::key::ApiKey;
use crate::reports::{PublishError, ReportSink};

/// The connection, as the agent's parts share it.
#[derive(Debug, Clone)]
pub struct Broker {
    /// The client.
    pub client: Client,
    /// Rises each time the connection stands (again): whatever the broker kept for the old one may be gone.
    pub connections: watch::Receiver<u64>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The key was refused, and the agent was told to end then.
    #[error("the broker refused the API key; get the current one with `backend/signin`")]
    Refused,
    /// The agent was told to stop.
    #[error("told to stop before the broker answered")]
    Stopped,
}

/// Connects, however long it takes.
///
/// # Errors
/// When told to stop, or when the key is refused and `exit_on_refused` is set; a key that is refused later cancels
/// `refused` then.
pub async fn connect(
    servers: &[ServerAddr],
    key: &ApiKey,
    exit_on_refused: bool,
    refused: &CancellationToken,
    stop: &CancellationToken,
) -> Result<Broker, ConnectError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let (connection_count, connections) = watch::channel(0);
        let options = options(key, connection_count, exit_on_refused.then(|| refused.clone()));
        let result = tokio::select! {
            result = options.connect(servers) => result,
            () = stop.cancelled() => return Err(ConnectError::Stopped),
        };
        let pause = backoff.pause();
        match result {
            Ok(client) => {
                let mut connections = connections;
                // Its event comes after the client: whoever waits for the next connection must not mistake this one for it.
                if connections.wait_for(|number| *number > 0).await.is_err() {
                    tracing::debug!("the client closed as soon as it stood");
                }
                return Ok(Broker { client, connections });
            }
            Err(error) if is_refusal(error.kind()) => {
                if exit_on_refused {
                    return Err(ConnectError::Refused);
                }
                tracing::error!(retry_in = ?pause, "{}", ConnectError::Refused);
            }
            Err(error) => tracing::warn!(%error, retry_in = ?pause, "no connection to the broker"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Err(ConnectError::Stopped),
        }
    }
}

fn is_refusal(kind: ConnectErrorKind) -> bool {
    matches!(kind, ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

/// Nobody answered, or not in words that are understood; it is asked again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub String);

/// Asks one of the server's replicas. One that the broker believes to be there may be cut off: after `timeout` the next
/// body may go to another.
///
/// # Errors
/// [`RequestError`].
pub async fn request<A: DeserializeOwned>(
    client: &Client,
    subject: String,
    body: &impl Serialize,
    timeout: Duration,
) -> Result<A, RequestError> {
    let payload = serde_json::to_vec(body).map_err(|error| RequestError(error.to_string()))?;
    let request = Request::new().payload(payload.into()).timeout(Some(timeout));
    let answer = client.send_request(subject, request).await.map_err(|error| RequestError(error.to_string()))?;
    serde_json::from_slice(&answer.payload)
        .map_err(|error| RequestError(format!("its answer is not understood: {error}")))
}

fn options(key: &ApiKey, connection_count: watch::Sender<u64>, refused: Option<CancellationToken>) -> ConnectOptions {
    let backend = key.backend();
    ConnectOptions::with_token(key.reveal().to_owned())
        .name(format!("dockhost-agent {backend}"))
        // The only inbox that the broker lets this backend use.
        .custom_inbox_prefix(format!("_INBOX.{backend}"))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| {
            let attempt = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(6);
            Backoff::new(Duration::from_millis(100) * 2_u32.pow(attempt), Duration::from_secs(5)).pause()
        })
        .event_callback(move |event| {
            match &event {
                Event::Connected => connection_count.send_modify(|number| *number += 1),
                Event::Disconnected => tracing::warn!("lost the connection to the broker, connecting again"),
                Event::ServerError(ServerError::AuthorizationViolation) => on_refusal(refused.as_ref()),
                Event::ClientError(ClientError::Other(text))
                    if *text == ConnectErrorKind::AuthorizationViolation.to_string() =>
                {
                    on_refusal(refused.as_ref());
                }
                other => tracing::debug!(%other, "broker"),
            }
            std::future::ready(())
        })
}

fn on_refusal(refused: Option<&CancellationToken>) {
    match refused {
        Some(refused) => refused.cancel(),
        None => tracing::error!("{}; trying again", ConnectError::Refused),
    }
}

/// Reports go to the backend's own subject, which a stream stores.
#[derive(Debug, Clone)]
pub struct ReportPublisher {
    client: Client,
    subject: String,
}

impl ReportPublisher {
    /// The subject of the key's backend.
    #[must_use]
    pub fn new(client: Client, key: &ApiKey) -> Self {
        Self { client, subject: Channel::Report(key.backend()).to_string() }
    }
}

impl ReportSink for ReportPublisher {
    async fn send(&self, report: &Report, message_id: &str) -> Result<(), PublishError> {
        let body = serde_json::to_vec(report).map_err(|error| PublishError(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message_id);
        let answer = self
            .client
            .request_with_headers(self.subject.clone(), headers, Bytes::from(body))
            .await
            .map_err(|error| PublishError(error.to_string()))?;
        parse_ack(&answer.payload)
    }
}

/// Whether the broker says that it stored the message.
fn parse_ack(answer: &[u8]) -> Result<(), PublishError> {
    #[derive(Deserialize)]
    struct PubAck {
        seq: Option<u64>,
        error: Option<ApiError>,
    }
    #[derive(Deserialize)]
    struct ApiError {
        #[serde(default)]
        description: String,
    }
    match serde_json::from_slice(answer) {
        Ok(PubAck { seq: Some(_), error: None }) => Ok(()),
        Ok(PubAck { error: Some(error), .. }) => Err(PublishError(error.description)),
        _ => Err(PublishError("the answer is no acknowledgement of a stream".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sequence_means_stored() {
        assert!(parse_ack(br#"{"stream":"REPORTS","seq":7}"#).is_ok());
        assert!(parse_ack(br#"{"stream":"REPORTS","seq":7,"duplicate":true}"#).is_ok());
        let full = parse_ack(br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"REPORTS","seq":0}"#);
        assert_eq!(full.unwrap_err().to_string(), "maximum bytes exceeded");
        for nonsense in [&b"{}"[..], b"", b"+OK", b"[]"] {
            assert!(parse_ack(nonsense).is_err());
        }
    }
}
