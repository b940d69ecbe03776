//! The connection to the broker, and requests over it.
//!
//! The client reconnects without limit. A refused key is retried too, because the server's auth callout decides about
//! keys: while no server runs, the broker refuses every key. `--exit-on-refused` ends the agent instead.

use std::time::Duration;

pub use async_nats::ServerAddr;
use async_nats::{
    Auth, Client, ClientError, ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderValue, Request, ServerError,
};
use backon::Retryable;
use bytes::Bytes;
use dockhost_domain::ids::AgentRunId;
use dockhost_domain::subject::Channel;
use dockhost_domain::trace::HEADER as TRACE_PARENT;
use dockhost_domain::wire::{AGENT_RUN_HEADER, Report};
use dockhost_telemetry::trace;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::{backoff, delay};
use crate::key::ApiKey;
use crate::key_store::KeyStore;
use crate::nodes::{Nodes, Sign, Trouble};
use crate::reports::{PublishError, ReportSink};

/// First and longest delay between attempts to make the first connection.
const CONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// First and longest delay between attempts to restore a lost connection.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The code of the refusal of an agent while another one holds the backend.
const OTHER_AGENT: u16 = 409;
/// Interval of the client's pings to the broker.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The log line for a refusal that is retried. The broker gives the same answer whether a server refused the key or none
/// answered, so the line claims neither.
const REFUSED_OR_UNCHECKED: &str = "the broker refused the API key, or no server is running that could check it; if one is, \
                                    get the current key with `backend/signin`";

/// The shared connection.
#[derive(Debug, Clone)]
pub struct Broker {
    /// The client.
    pub client: Client,
    /// The number of connections made so far. When it rises, subscriptions' messages may have been lost.
    pub connections: watch::Receiver<u64>,
    /// Whether the node that it uses works.
    pub trouble: Trouble,
    /// The number of configured addresses.
    pub addresses: usize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The broker refused the key, and `--exit-on-refused` is set.
    #[error("the broker refused the API key; get the current one with `backend/signin`")]
    Refused,
    /// The agent was stopped before the broker accepted a connection.
    #[error("stopped before the broker accepted a connection")]
    Stopped,
}

/// Connects, retrying until it succeeds.
///
/// # Errors
/// If the agent is stopped, or if the broker refuses the key and `exit_on_refused` is set. If the broker refuses the key
/// later, `refused` is cancelled instead.
pub async fn connect(
    servers: &[ServerAddr],
    keys: &KeyStore,
    exit_on_refused: bool,
    refused: &CancellationToken,
    stop: &CancellationToken,
) -> Result<Broker, ConnectError> {
    let nodes = Nodes::default();
    let connect_once = || async {
        let (connection_count, connections) = watch::channel(0);
        let refused = exit_on_refused.then(|| refused.clone());
        let options = options(keys, connection_count, names(servers), refused, nodes.clone());
        Ok::<_, async_nats::ConnectError>((options.connect(servers).await?, connections))
    };
    // The client tries one node at a time.
    let attempt = || async {
        for _ in 1..servers.len() {
            match connect_once().await {
                Err(error) if !is_refusal(error.kind()) => {}
                outcome => return outcome,
            }
        }
        connect_once().await
    };
    let connecting = attempt
        .retry(backoff(CONNECT_BACKOFF))
        .when(|error| !(exit_on_refused && is_refusal(error.kind())))
        .notify(|error, delay| {
            if is_refusal(error.kind()) {
                tracing::warn!(retry_in = ?delay, "{REFUSED_OR_UNCHECKED}");
            } else {
                tracing::warn!(%error, servers = names(servers), retry_in = ?delay, "could not connect to the broker");
            }
        });
    let connected = tokio::select! {
        connected = connecting => connected,
        () = stop.cancelled() => return Err(ConnectError::Stopped),
    };
    let (client, mut connections) = connected.map_err(|_| ConnectError::Refused)?;
    // The client is returned before its first `Connected` event, which must not be mistaken for a reconnect.
    tokio::select! {
        first = connections.wait_for(|count| *count > 0) => if first.is_err() {
            tracing::debug!("the client closed right after it connected");
        },
        () = stop.cancelled() => return Err(ConnectError::Stopped),
    }
    Ok(Broker { client, connections, trouble: Trouble::default(), addresses: servers.len() })
}

fn is_refusal(kind: ConnectErrorKind) -> bool {
    matches!(kind, ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

/// A request without a usable answer; the caller may repeat it.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server refused it.
    #[error("{text} ({code})")]
    Refused {
        /// The code of `docs/EVENTS.md`.
        code: u16,
        /// A sentence.
        text: String,
    },
    /// No answer arrived in time, or it can't be decoded.
    #[error("{0}")]
    NoAnswer(String),
}

impl RequestError {
    /// The refusal's text if another agent holds this backend.
    #[must_use]
    pub fn other_agent(&self) -> Option<&str> {
        match self {
            Self::Refused { code: OTHER_AGENT, text } => Some(text),
            _ => None,
        }
    }
}

/// Sends a request to one of the server's replicas. The broker may choose a replica that is cut off; after `timeout` a
/// repeated request may reach another.
///
/// # Errors
/// [`RequestError`] if no answer arrives in time, or if it can't be decoded.
pub async fn request<A: DeserializeOwned>(
    client: &Client,
    subject: String,
    body: &impl Serialize,
    timeout: Duration,
) -> Result<A, RequestError> {
    let no_answer = |error: &dyn std::error::Error| RequestError::NoAnswer(error.to_string());
    let payload = serde_json::to_vec(body).map_err(|error| no_answer(&error))?;
    let request = Request::new().payload(payload.into()).timeout(Some(timeout));
    let answer = client.send_request(subject, request).await.map_err(|error| no_answer(&error))?;
    decode(answer.headers.as_ref(), &answer.payload)
}

fn decode<A: DeserializeOwned>(headers: Option<&HeaderMap>, body: &[u8]) -> Result<A, RequestError> {
    let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
    if let Some(code) = header("Nats-Service-Error-Code") {
        let text = header("Nats-Service-Error").unwrap_or("the server refused the request").to_owned();
        return Err(RequestError::Refused { code: code.parse().unwrap_or(0), text });
    }
    serde_json::from_slice(body)
        .map_err(|error| RequestError::NoAnswer(format!("could not decode the answer: {error}")))
}

/// The brokers' hosts and ports. Not their URLs, which may contain a password.
fn names(servers: &[ServerAddr]) -> String {
    servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect::<Vec<_>>().join(", ")
}

fn options(
    keys: &KeyStore,
    connection_count: watch::Sender<u64>,
    servers: String,
    refused: Option<CancellationToken>,
    nodes: Nodes,
) -> ConnectOptions {
    let (backend, keys) = (keys.current().backend(), keys.clone());
    // Asked at each connection: the server may have given another key meanwhile.
    let authenticate = move |_nonce| {
        let mut auth = Auth::new();
        auth.token = Some(keys.current().reveal().to_owned());
        std::future::ready(Ok(auth))
    };
    ConnectOptions::with_auth_callback(authenticate)
        .name(format!("dockhost-agent {backend}"))
        // The broker allows this backend no other inbox.
        .custom_inbox_prefix(format!("_INBOX.{backend}"))
        .ping_interval(PING_INTERVAL)
        // Attempts count from 1.
        .reconnect_delay_callback(|attempt| delay(RECONNECT_BACKOFF, attempt.saturating_sub(1)))
        .reconnect_to_server_callback(move |servers, _| std::future::ready(nodes.choose(&servers)))
        .event_callback(move |event| {
            match &event {
                Event::Connected => connection_count.send_modify(|count| *count += 1),
                Event::Disconnected => tracing::warn!(servers, "lost the connection to the broker; reconnecting"),
                Event::ServerError(ServerError::AuthorizationViolation) => on_refusal(refused.as_ref()),
                Event::ClientError(ClientError::Other(text))
                    if *text == ConnectErrorKind::AuthorizationViolation.to_string() =>
                {
                    on_refusal(refused.as_ref());
                }
                other => tracing::debug!(%other, "client event"),
            }
            std::future::ready(())
        })
}

fn on_refusal(refused: Option<&CancellationToken>) {
    match refused {
        Some(refused) => refused.cancel(),
        None => tracing::warn!("{REFUSED_OR_UNCHECKED}; retrying"),
    }
}

/// Publishes reports on the backend's own subject, which a stream stores.
#[derive(Debug, Clone)]
pub struct ReportPublisher {
    client: Client,
    subject: String,
    run: String,
    trouble: Trouble,
}

impl ReportPublisher {
    /// A publisher for the key's backend.
    #[must_use]
    pub fn new(broker: &Broker, key: &ApiKey, run: AgentRunId) -> Self {
        let Broker { client, trouble, .. } = broker.clone();
        Self { client, subject: Channel::Report(key.backend()).to_string(), run: run.to_string(), trouble }
    }
}

impl ReportSink for ReportPublisher {
    async fn send(&self, report: &Report, message_id: &str) -> Result<(), PublishError> {
        let body = serde_json::to_vec(report).map_err(|error| PublishError(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", message_id);
        headers.insert(AGENT_RUN_HEADER, self.run.as_str());
        if let Some(current) = trace::current() {
            headers.insert(TRACE_PARENT, current.to_string());
        }
        let answer = self
            .client
            .request_with_headers(self.subject.clone(), headers, Bytes::from(body))
            .await
            .map_err(|error| PublishError(error.to_string()));
        let stored = answer.and_then(|answer| parse_ack(&answer.payload));
        self.trouble.record(Sign::Reports, stored.is_ok());
        stored
    }
}

/// `Ok` if the answer is a stream's acknowledgement.
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
        _ => Err(PublishError("the answer is not a stream's acknowledgement".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_error_headers_are_a_refusal() {
        let headers = |code: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", "another agent is connected");
            headers.insert("Nats-Service-Error-Code", code);
            headers
        };
        let decode = |headers: Option<&HeaderMap>, body: &[u8]| decode::<bool>(headers, body);
        let refused = decode(Some(&headers("409")), b"").unwrap_err();
        assert_eq!(refused.other_agent(), Some("another agent is connected"));
        let refused = decode(Some(&headers("503")), b"").unwrap_err();
        assert_eq!((refused.other_agent(), refused.to_string()), (None, "another agent is connected (503)".to_owned()));
        assert!(matches!(decode(None, b""), Err(RequestError::NoAnswer(_))));
        assert!(matches!(decode(Some(&HeaderMap::new()), b"true"), Ok(true)));
    }

    #[test]
    fn parse_ack_without_a_sequence_is_an_error() {
        assert!(parse_ack(br#"{"stream":"REPORTS","seq":7}"#).is_ok());
        assert!(parse_ack(br#"{"stream":"REPORTS","seq":7,"duplicate":true}"#).is_ok());
        let full = parse_ack(br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"REPORTS","seq":0}"#);
        assert_eq!(full.unwrap_err().to_string(), "maximum bytes exceeded");
        for nonsense in [&b"{}"[..], b"", b"+OK", b"[]"] {
            assert!(parse_ack(nonsense).is_err());
        }
    }
}
