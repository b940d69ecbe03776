//! Following the assignments: hello, then pull.
//!
//! In: the server's answer to hello, and the messages of the consumer that it made for this backend. Out: assignments
//! for the reconciler, and once all that waited have been seen, the word that what is unknown may be reported.
//!
//! The pull is spoken raw, as `docs/EVENTS.md` tells it to any NATS client: a request to the consumer's `MSG.NEXT`, whose
//! answers come to an inbox. There are no acknowledgements, because an assignment is a state and not a task: whatever is
//! missed is still there after the next hello. So every doubt (a new connection, silence, a consumer that is gone) has
//! the same remedy: hello anew.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use dockhost_domain::subject::Channel;
use dockhost_domain::wire::{Assignment, Hello, Welcome};
use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::capacity::Capacity;
use crate::connect::{Broker, RequestError, request};
use crate::key::ApiKey;
use crate::reconcile::Reconciler;
use crate::runtime::Runtime;

/// Assignments per pull.
const ASSIGNMENTS_PER_PULL: usize = 256;
/// How long a pull stays open.
const PULL_EXPIRY: Duration = Duration::from_secs(30);
/// How often the broker says that there is nothing to say.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one hello may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);
/// After this long without a word, the pull is lost.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(12);

/// Why a run_session ended before the agent was describe to stop.
#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("connected anew")]
    Reconnected,
    #[error("the server doesn't answer hello: {0}")]
    Hello(#[from] RequestError),
    #[error("the server says that this key belongs to another backend")]
    WrongBackend,
    #[error("no word from the consumer")]
    MissedHeartbeats,
    #[error("the consumer answers: {0}")]
    Consumer(String),
    #[error("the connection is closed: {0}")]
    Closed(String),
}

/// What a status message of a pull means.
#[derive(Debug, PartialEq, Eq)]
enum PullStatus {
    /// Nothing waits right now.
    Idle,
    /// The pull is over, as it should be in time.
    Expired,
    /// The consumer is not what it was.
    Invalid,
}

impl PullStatus {
    /// Anything not understood is a loss: hello repairs it.
    fn of(code: StatusCode) -> Self {
        match code.as_u16() {
            100 => Self::Idle,
            404 | 408 => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

/// Follows the assignments until describe to stop.
pub async fn receive_assignments<R: Runtime>(
    broker: Broker,
    key: &ApiKey,
    capacity: &Capacity,
    reconciler: &Reconciler<R>,
    stop: &CancellationToken,
) {
    let mut broker = broker;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let ended = tokio::select! {
            ended = run_session(&mut broker, key, capacity, reconciler, &mut backoff) => ended,
            () = stop.cancelled() => return,
        };
        if matches!(ended, SessionEnd::Reconnected) {
            tracing::info!("connected anew, saying hello");
            continue;
        }
        let pause = backoff.pause();
        tracing::warn!(error = %ended, retry_in = ?pause, "saying hello anew");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One hello and all subscription that receive_assignments, until something is in doubt.
async fn run_session<R: Runtime>(
    broker: &mut Broker,
    key: &ApiKey,
    capacity: &Capacity,
    reconciler: &Reconciler<R>,
    backoff: &mut Backoff,
) -> SessionEnd {
    broker.connections.mark_unchanged();
    let client = broker.client.clone();
    let welcome = tokio::select! {
        welcome = hello(&client, key) => welcome,
        // Said on a connection that is gone: nobody will answer, so there is nothing to wait for.
        _ = broker.connections.changed() => return SessionEnd::Reconnected,
    };
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(ended) => return ended,
    };
    capacity.set_enrolled_max(welcome.max_containers);
    reconciler.notify_changed();
    tracing::info!(backend = %welcome.backend_id, assignments = welcome.assignments, max = capacity.max(), "welcome");
    let mut subscription = match PullSubscription::open(client, &welcome).await {
        Ok(subscription) => subscription,
        Err(ended) => return ended,
    };
    let mut unseen = Some(welcome.assignments);
    loop {
        if unseen == Some(0) {
            unseen = None;
            if let Err(error) = reconciler.report_unassigned().await {
                tracing::warn!(error = error.with_causes(), "could not look for unknown containers");
            }
        }
        let next = tokio::select! {
            next = subscription.next() => next,
            _ = broker.connections.changed() => return SessionEnd::Reconnected,
        };
        match next {
            Ok(Some(body)) => {
                backoff.reset();
                unseen = unseen.map(|unseen| unseen.saturating_sub(1));
                match serde_json::from_slice::<Assignment>(&body) {
                    Ok(assignment) => reconciler.assign(assignment),
                    Err(error) => tracing::error!(%error, "an assignment that this agent can't read"),
                }
            }
            // Nothing waits, so all has been seen, even if an assignment was taken back since the welcome.
            Ok(None) => {
                backoff.reset();
                unseen = unseen.map(|_| 0);
            }
            Err(ended) => return ended,
        }
    }
}

async fn hello(client: &Client, key: &ApiKey) -> Result<Welcome, SessionEnd> {
    let subject = Channel::Hello(key.backend()).to_string();
    let hello = Hello { agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    let welcome: Welcome = request(client, subject, &hello, HELLO_TIMEOUT).await?;
    if welcome.backend_id == key.backend() { Ok(welcome) } else { Err(SessionEnd::WrongBackend) }
}

/// The subscription of one run_session: there is always one open.
struct PullSubscription {
    client: Client,
    next: String,
    inbox: String,
    answers: Subscriber,
    number: u64,
    received: usize,
}

impl PullSubscription {
    async fn open(client: Client, welcome: &Welcome) -> Result<Self, SessionEnd> {
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", welcome.stream, welcome.consumer);
        let inbox = client.new_inbox();
        let answers =
            client.subscribe(format!("{inbox}.*")).await.map_err(|error| SessionEnd::Closed(error.to_string()))?;
        let mut subscription = Self { client, next, inbox, answers, number: 0, received: 0 };
        subscription.pull().await?;
        Ok(subscription)
    }

    async fn pull(&mut self) -> Result<(), SessionEnd> {
        (self.number, self.received) = (self.number + 1, 0);
        let body = json!({
            "batch": ASSIGNMENTS_PER_PULL,
            "expires": PULL_EXPIRY.as_nanos(),
            "idle_heartbeat": IDLE_HEARTBEAT.as_nanos(),
        });
        self.client
            .publish_with_reply(self.next.clone(), self.reply(), Bytes::from(body.to_string()))
            .await
            .map_err(|error| SessionEnd::Closed(error.to_string()))
    }

    fn reply(&self) -> String {
        format!("{}.{}", self.inbox, self.number)
    }

    /// The next assignment's body, or nothing when none waits.
    async fn next(&mut self) -> Result<Option<Bytes>, SessionEnd> {
        loop {
            let message = match tokio::time::timeout(HEARTBEAT_TIMEOUT, self.answers.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(SessionEnd::Closed("its subscription ended".to_owned())),
                Err(_) => return Err(SessionEnd::MissedHeartbeats),
            };
            let Some(code) = message.status.filter(|code| code.as_u16() != 200) else {
                self.received += 1;
                if self.received == ASSIGNMENTS_PER_PULL {
                    self.pull().await?;
                }
                return Ok(Some(message.payload));
            };
            if message.subject.as_str() != self.reply() {
                // The word of a pull that has been followed by another.
                continue;
            }
            match PullStatus::of(code) {
                PullStatus::Idle => return Ok(None),
                PullStatus::Expired => self.pull().await?,
                PullStatus::Invalid => return Err(SessionEnd::Consumer(describe(code, &message))),
            }
        }
    }
}

fn describe(code: StatusCode, message: &Message) -> String {
    format!("{code} {}", message.description.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_idle_over_or_a_loss() {
        let of = |code: u16| PullStatus::of(StatusCode::from_u16(code).unwrap());
        assert_eq!(of(100), PullStatus::Idle);
        assert_eq!((of(404), of(408)), (PullStatus::Expired, PullStatus::Expired));
        for code in [400, 409, 423, 503] {
            assert_eq!(of(code), PullStatus::Invalid, "{code}");
        }
    }
}
