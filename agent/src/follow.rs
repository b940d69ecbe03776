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
use crate::connect::{Broker, NoAnswer, ask};
use crate::key::ApiKey;
use crate::reconcile::Reconciler;
use crate::rooms::Rooms;
use crate::runtime::Runtime;

/// Assignments per pull.
const BATCH: usize = 256;
/// How long a pull stays open.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the broker says that there is nothing to say.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one hello may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this long without a word, the pull is lost.
const SILENCE: Duration = Duration::from_secs(12);

/// Why a round ended before the agent was told to stop.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connected anew")]
    Reconnected,
    #[error("the server doesn't answer hello: {0}")]
    NoWelcome(#[from] NoAnswer),
    #[error("the server says that this key belongs to another backend")]
    NotMe,
    #[error("no word from the consumer")]
    Silence,
    #[error("the consumer answers: {0}")]
    Consumer(String),
    #[error("the connection is closed: {0}")]
    Closed(String),
}

/// What a status message of a pull means.
#[derive(Debug, PartialEq, Eq)]
enum Status {
    /// Nothing waits right now.
    Idle,
    /// The pull is over, as it should be in time.
    Over,
    /// The consumer is not what it was.
    Lost,
}

impl Status {
    /// Anything not understood is a loss: hello repairs it.
    fn of(code: StatusCode) -> Self {
        match code.as_u16() {
            100 => Self::Idle,
            404 | 408 => Self::Over,
            _ => Self::Lost,
        }
    }
}

/// Follows the assignments until told to stop.
pub async fn follow<R: Runtime>(
    broker: Broker,
    key: &ApiKey,
    rooms: &Rooms,
    reconciler: &Reconciler<R>,
    stop: &CancellationToken,
) {
    let mut broker = broker;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let ended = tokio::select! {
            ended = round(&mut broker, key, rooms, reconciler, &mut backoff) => ended,
            () = stop.cancelled() => return,
        };
        if matches!(ended, Ended::Reconnected) {
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

/// One hello and all pulls that follow, until something is in doubt.
async fn round<R: Runtime>(
    broker: &mut Broker,
    key: &ApiKey,
    rooms: &Rooms,
    reconciler: &Reconciler<R>,
    backoff: &mut Backoff,
) -> Ended {
    broker.connections.mark_unchanged();
    let client = broker.client.clone();
    let welcome = tokio::select! {
        welcome = hello(&client, key) => welcome,
        // Said on a connection that is gone: nobody will answer, so there is nothing to wait for.
        _ = broker.connections.changed() => return Ended::Reconnected,
    };
    let welcome = match welcome {
        Ok(welcome) => welcome,
        Err(ended) => return ended,
    };
    rooms.enrolled_for(welcome.max_containers);
    reconciler.nudge();
    tracing::info!(backend = %welcome.backend_id, assignments = welcome.assignments, max = rooms.max(), "welcome");
    let mut pulls = match Pulls::open(client, &welcome).await {
        Ok(pulls) => pulls,
        Err(ended) => return ended,
    };
    let mut missing = Some(welcome.assignments);
    loop {
        if missing == Some(0) {
            missing = None;
            if let Err(error) = reconciler.report_unknown().await {
                tracing::warn!(error = error.chain(), "could not look for unknown containers");
            }
        }
        let next = tokio::select! {
            next = pulls.next() => next,
            _ = broker.connections.changed() => return Ended::Reconnected,
        };
        match next {
            Ok(Some(body)) => {
                backoff.reset();
                missing = missing.map(|missing| missing.saturating_sub(1));
                match serde_json::from_slice::<Assignment>(&body) {
                    Ok(assignment) => reconciler.assign(assignment),
                    Err(error) => tracing::error!(%error, "an assignment that this agent can't read"),
                }
            }
            // Nothing waits, so all has been seen, even if an assignment was taken back since the welcome.
            Ok(None) => {
                backoff.reset();
                missing = missing.map(|_| 0);
            }
            Err(ended) => return ended,
        }
    }
}

async fn hello(client: &Client, key: &ApiKey) -> Result<Welcome, Ended> {
    let subject = Channel::Hello(key.backend()).to_string();
    let hello = Hello { agent_version: env!("CARGO_PKG_VERSION").to_owned() };
    let welcome: Welcome = ask(client, subject, &hello, PATIENCE).await?;
    if welcome.backend_id == key.backend() { Ok(welcome) } else { Err(Ended::NotMe) }
}

/// The pulls of one round: there is always one open.
struct Pulls {
    client: Client,
    next: String,
    inbox: String,
    answers: Subscriber,
    number: u64,
    received: usize,
}

impl Pulls {
    async fn open(client: Client, welcome: &Welcome) -> Result<Self, Ended> {
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", welcome.stream, welcome.consumer);
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|error| Ended::Closed(error.to_string()))?;
        let mut pulls = Self { client, next, inbox, answers, number: 0, received: 0 };
        pulls.pull().await?;
        Ok(pulls)
    }

    async fn pull(&mut self) -> Result<(), Ended> {
        (self.number, self.received) = (self.number + 1, 0);
        let body = json!({
            "batch": BATCH,
            "expires": EXPIRES.as_nanos(),
            "idle_heartbeat": IDLE_HEARTBEAT.as_nanos(),
        });
        self.client
            .publish_with_reply(self.next.clone(), self.reply(), Bytes::from(body.to_string()))
            .await
            .map_err(|error| Ended::Closed(error.to_string()))
    }

    fn reply(&self) -> String {
        format!("{}.{}", self.inbox, self.number)
    }

    /// The next assignment's body, or nothing when none waits.
    async fn next(&mut self) -> Result<Option<Bytes>, Ended> {
        loop {
            let message = match tokio::time::timeout(SILENCE, self.answers.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Ended::Closed("its subscription ended".to_owned())),
                Err(_) => return Err(Ended::Silence),
            };
            let Some(code) = message.status.filter(|code| code.as_u16() != 200) else {
                self.received += 1;
                if self.received == BATCH {
                    self.pull().await?;
                }
                return Ok(Some(message.payload));
            };
            if message.subject.as_str() != self.reply() {
                // The word of a pull that has been followed by another.
                continue;
            }
            match Status::of(code) {
                Status::Idle => return Ok(None),
                Status::Over => self.pull().await?,
                Status::Lost => return Err(Ended::Consumer(told(code, &message))),
            }
        }
    }
}

fn told(code: StatusCode, message: &Message) -> String {
    format!("{code} {}", message.description.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_idle_over_or_a_loss() {
        let of = |code: u16| Status::of(StatusCode::from_u16(code).unwrap());
        assert_eq!(of(100), Status::Idle);
        assert_eq!((of(404), of(408)), (Status::Over, Status::Over));
        for code in [400, 409, 423, 503] {
            assert_eq!(of(code), Status::Lost, "{code}");
        }
    }
}
