//! How the server connects to the broker.
//!
//! In: a URL (or several, comma-separated) and an nkey seed. Out: a [`Broker`], which reconnects by itself for ever,
//! with growing, jittered pauses. While the broker is away the client would keep what is published and send it later;
//! whoever must fail fast instead asks [`Broker::is_connected`] first.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use secrecy::{ExposeSecret, SecretString};

use crate::common::error::Cause;

/// How long one answer may take; an append that is not answered by then is of unknown outcome.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A link that is silent is noticed after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Messages that may wait for a subscriber in this process; more are dropped and logged.
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// The server's connection to the broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    jetstream: Context,
}

/// The broker could not be reached within the given time, or refused the key.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the broker at {url}")]
pub struct ConnectError {
    /// Where it was looked for.
    pub url: String,
    /// The last attempt's error.
    #[source]
    pub source: AttemptError,
}

/// How one attempt to connect ended.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// Nobody there, or the key was turned down.
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
    /// The connection was taken, but not the key: the broker asks at the door about keys that it doesn't know, and
    /// while nobody answers there the client already believes itself connected.
    #[error("the broker does not answer; is the key the one that it was given?")]
    Unverified(#[source] async_nats::client::RequestError),
}

impl AttemptError {
    /// Trying again does not help.
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == ConnectErrorKind::AuthorizationViolation)
    }
}

impl Broker {
    /// Connects as the holder of an nkey seed, trying again for `timeout`: at start-up the broker may be a moment
    /// later than the server. `name` is what the broker's own monitoring shows.
    ///
    /// # Errors
    /// [`ConnectError`] of the last attempt; at once if the key is refused.
    pub async fn connect(url: &str, seed: &SecretString, name: &str, timeout: Duration) -> Result<Self, ConnectError> {
        let servers: Vec<&str> = url.split(',').map(str::trim).collect();
        let deadline = tokio::time::Instant::now() + timeout;
        let mut attempt = 0;
        loop {
            match connect_once(&servers, seed, name).await {
                Ok(client) => return Ok(Self::new(client)),
                Err(source) => {
                    if source.is_permanent() || tokio::time::Instant::now() >= deadline {
                        return Err(ConnectError { url: url.to_owned(), source });
                    }
                    tracing::info!(url, error = %source, "the broker is not there yet");
                    attempt += 1;
                    tokio::time::sleep(reconnect_delay(attempt)).await;
                }
            }
        }
    }

    fn new(client: Client) -> Self {
        let jetstream = jetstream::context::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        Self { client, jetstream }
    }

    /// The client itself.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its streams.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Whether the connection stands, as far as is known: a silent link counts as standing until its pings go
    /// unanswered.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

/// Connects, and has the broker say who it takes this client for.
async fn connect_once(servers: &[&str], seed: &SecretString, name: &str) -> Result<Client, AttemptError> {
    let client = options(seed, name).connect(servers).await?;
    client.request("$SYS.REQ.USER.INFO", "".into()).await.map_err(AttemptError::Unverified)?;
    Ok(client)
}

fn options(seed: &SecretString, name: &str) -> ConnectOptions {
    let label = name.to_owned();
    ConnectOptions::with_nkey(seed.expose_secret().to_owned())
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECTION_TIMEOUT)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            log(&label, &event);
            std::future::ready(())
        })
}

/// None before the first attempt, then doubling from about 50 ms to [`MAX_RECONNECT_DELAY`]; each is cut by up to a half, so
/// that replicas don't come back in step.
fn reconnect_delay(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(1) else { return Duration::ZERO };
    let full = Duration::from_millis(50).saturating_mul(1 << doublings.min(10)).min(MAX_RECONNECT_DELAY);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

fn log(connection: &str, event: &Event) {
    match event {
        Event::Connected => tracing::info!(connection, "connected to the broker"),
        Event::Disconnected => tracing::warn!(connection, "lost the broker"),
        Event::SlowConsumer(subscription) => {
            tracing::error!(connection, subscription, "messages were dropped: a subscriber is too slow");
        }
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(connection, %event, "broker connection"),
        Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::info!(connection, %event, "broker connection");
        }
    }
}

/// Whether there is a connection to send on. Without one the client would keep the message and send it later, when
/// nobody waits for its answer any more.
///
/// # Errors
/// The reason, if there is none.
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
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        for attempt in 1..200 {
            let (shortest, longest) = (Duration::from_millis(25), MAX_RECONNECT_DELAY);
            assert!((shortest..=longest).contains(&reconnect_delay(attempt)), "attempt {attempt}");
        }
        assert!(reconnect_delay(100) >= MAX_RECONNECT_DELAY / 2);
    }
}
