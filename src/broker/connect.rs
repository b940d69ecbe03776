//! The server's connections to the broker, which reconnect by themselves for ever: one for the server's own traffic, one
//! for what agents send.
//!
//! While the broker is away the client buffers what is published and sends it later. Callers that must fail fast check
//! [`ensure_connected`] first.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::common::error::{Cause, chain};
use crate::common::log_throttle::LogThrottle;
use crate::common::retry::until_deadline;

use super::nodes::{Connection, Nodes};

/// How long one reply may take. An append without a reply by then has an unknown outcome.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection counts as lost after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(50);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Answers with the user and the account of the connection.
pub(super) const USER_INFO_SUBJECT: &str = "$SYS.REQ.USER.INFO";
/// Messages that may wait for a subscriber in this process; further ones are dropped and logged.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
/// The same for what agents send: with 16 KB each, the messages of one subscription take 32 MB at most.
const AGENT_SUBSCRIPTION_CAPACITY: usize = 2048;
/// The shortest time between two log lines about dropped messages; a flood drops thousands per second.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One of the server's connections to the broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    jetstream: Context,
    nodes: Arc<Nodes>,
    addresses: usize,
}

/// The broker could not be reached in time, or refused the key.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the broker at {url}")]
pub struct ConnectError {
    /// The URL that was tried, without credentials.
    pub url: String,
    /// The error of the last attempt.
    #[source]
    pub source: AttemptError,
}

/// Why one attempt to connect failed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No broker answered, or it refused the key.
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
    /// The connection was accepted but not authenticated: for a key that it does not know, the broker asks the auth
    /// callout, and until that answers the client already counts as connected.
    #[error("the broker does not answer; is the key the one that it was configured with?")]
    Unverified(#[source] async_nats::client::RequestError),
}

impl AttemptError {
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == ConnectErrorKind::AuthorizationViolation)
    }
}

impl Broker {
    /// Connects to `url` (or several, comma-separated) with an nkey seed, retrying for `timeout`. `name` is shown in
    /// the broker's monitoring.
    ///
    /// # Errors
    /// [`ConnectError`] of the last attempt; at once if the key is refused.
    pub async fn connect(url: &str, seed: &SecretString, name: &str, timeout: Duration) -> Result<Self, ConnectError> {
        Self::connect_as(Connection::Own, url, seed, name, timeout, Arc::default()).await
    }

    /// Opens the connection on which everything that agents send arrives: hellos, confirms, heartbeats and reports. A
    /// flood of them fills or breaks this connection only; appends, the lease and commands use the other one.
    ///
    /// # Errors
    /// As [`Broker::connect`].
    pub async fn connect_for_agents(
        &self,
        url: &str,
        seed: &SecretString,
        name: &str,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        self.nodes.follow();
        let nodes = Arc::clone(&self.nodes);
        Self::connect_as(Connection::Agents, url, seed, &format!("{name}-agents"), timeout, nodes).await
    }

    async fn connect_as(
        connection: Connection,
        url: &str,
        seed: &SecretString,
        name: &str,
        timeout: Duration,
        nodes: Arc<Nodes>,
    ) -> Result<Self, ConnectError> {
        let servers: Vec<&str> = url.split(',').map(str::trim).collect();
        let transient_cause = |error: &AttemptError| (!error.is_permanent()).then(|| chain(error));
        let connected = until_deadline("the broker", Instant::now() + timeout, transient_cause, || {
            connect_to_any(&servers, || options(connection, seed, name, &nodes))
        });
        let client = connected.await.map_err(|source| ConnectError { url: without_credentials(url), source })?;
        let jetstream = jetstream::context::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, nodes, addresses: servers.len() })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its JetStream context.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// The nodes that this replica's connections use.
    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The number of configured addresses.
    pub(super) const fn addresses(&self) -> usize {
        self.addresses
    }

    /// Whether the client is connected, as far as it knows: a silent connection counts until its pings time out.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

/// The URLs without user and password.
fn without_credentials(urls: &str) -> String {
    let bare = |url: &str| {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("nats", url.trim()));
        format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
    };
    urls.split(',').map(bare).collect::<Vec<_>>().join(",")
}

/// Checks the URLs of a broker, which are separated by commas.
///
/// # Errors
/// Names the first one that is invalid by its number, because it may contain a password.
pub fn check_urls(urls: &str) -> Result<(), String> {
    let invalid = urls.split(',').position(|url| url.trim().parse::<ServerAddr>().is_err());
    invalid.map_or(Ok(()), |index| Err(format!("URL {} is not of the form nats://host:port", index + 1)))
}

/// Tries each node once: an attempt of the client is at one node, which [`Nodes`] chooses.
async fn connect_to_any(servers: &[&str], options: impl Fn() -> ConnectOptions) -> Result<Client, AttemptError> {
    for _ in 1..servers.len() {
        match connect_once(servers, options()).await {
            Err(error) if !error.is_permanent() => {}
            outcome => return outcome,
        }
    }
    connect_once(servers, options()).await
}

/// Connects, and makes one request that the broker answers only to authenticated clients.
async fn connect_once(servers: &[&str], options: ConnectOptions) -> Result<Client, AttemptError> {
    let client = options.connect(servers).await?;
    client.request(USER_INFO_SUBJECT, "".into()).await.map_err(AttemptError::Unverified)?;
    Ok(client)
}

fn options(connection: Connection, seed: &SecretString, name: &str, nodes: &Arc<Nodes>) -> ConnectOptions {
    let capacity = match connection {
        Connection::Own => SUBSCRIPTION_CAPACITY,
        Connection::Agents => AGENT_SUBSCRIPTION_CAPACITY,
    };
    let nodes = Arc::clone(nodes);
    let label = name.to_owned();
    let drops = LogThrottle::every(DROP_LOG_INTERVAL);
    ConnectOptions::with_nkey(seed.expose_secret().to_owned())
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECTION_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .subscription_capacity(capacity)
        .reconnect_delay_callback(reconnect_delay)
        .reconnect_to_server_callback(move |servers, _| std::future::ready(nodes.choose(connection, &servers)))
        .event_callback(move |event| {
            log(&label, &event, &drops);
            std::future::ready(())
        })
}

/// None before the first attempt, then doubling up to [`MAX_RECONNECT_DELAY`]. Each is shortened by up to half, so that
/// replicas don't reconnect in step. (Not `backon`: the client counts the attempts, and asks for one delay at a time.)
fn reconnect_delay(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(1) else { return Duration::ZERO };
    let full = MIN_RECONNECT_DELAY.saturating_mul(1 << doublings.min(10)).min(MAX_RECONNECT_DELAY);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

fn log(connection: &str, event: &Event, drops: &LogThrottle) {
    match event {
        Event::Connected => tracing::info!(connection, "connected to the broker"),
        Event::Disconnected => tracing::warn!(connection, "disconnected from the broker"),
        Event::SlowConsumer(subscription) => {
            if let Some(suppressed) = drops.permit() {
                let dropped = suppressed + 1;
                tracing::error!(connection, subscription, dropped, "messages dropped: the subscriber is too slow");
            }
        }
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(connection, %event, "broker connection"),
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(connection, %event, "broker connection");
        }
    }
}

/// Fails unless there is a connection. Without one the client would buffer a request and send it when its caller has
/// long given up.
///
/// # Errors
/// The connection's state.
pub fn ensure_connected(client: &Client) -> Result<(), Cause> {
    match client.connection_state() {
        State::Connected => Ok(()),
        state @ (State::Pending | State::Disconnected) => {
            Err(format!("the connection to the broker is {state}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_error_shows_no_credentials() {
        let urls = "nats://user:hunter2@nats-1:4222, hunter2@nats-2:4222,nats://nats-3:4222";
        assert_eq!(without_credentials(urls), "nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222");
    }

    #[test]
    fn check_urls_names_an_invalid_one_by_its_number() {
        for urls in ["nats://nats-1:4222", "nats-1:4222, tls://user:pass@nats-2:4222"] {
            assert_eq!(check_urls(urls), Ok(()), "{urls}");
        }
        for urls in ["nats://nats-1:4222,http://user:hunter2@nats-2", "nats://nats-1,\"nats://nats-2\""] {
            let problem = check_urls(urls).unwrap_err();
            assert!(problem.starts_with("URL 2 ") && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn reconnect_delay_grows_up_to_the_maximum() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        for attempt in 1..200 {
            let range = MIN_RECONNECT_DELAY / 2..=MAX_RECONNECT_DELAY;
            assert!(range.contains(&reconnect_delay(attempt)), "attempt {attempt}");
        }
        assert!(reconnect_delay(100) >= MAX_RECONNECT_DELAY / 2);
    }
}
