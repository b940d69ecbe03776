//! A pull consumer that reports the broker's idle heartbeats.
//!
//! async-nats' own readers hide the heartbeats, by which a replica knows that it is up to date, and can wait for ever
//! after a missed one.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{Context, Message};
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::common::error::Cause;

/// The interval of the broker's idle heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// After this long without a message or heartbeat, the pull request or the connection counts as lost.
const MAX_SILENCE: Duration = Duration::from_secs(2);
/// How long one pull request lasts before the next one is sent. A consumer that sends heartbeats and no messages, as was
/// seen after its leader changed, goes on with the next request.
const PULL_EXPIRY: Duration = Duration::from_secs(5);

/// A node of the broker may learn of a consumer on another node only after its creation was answered. Until then it knows
/// nobody who takes pull requests.
const MAX_UNKNOWN: Duration = Duration::from_secs(1);
const UNKNOWN_PAUSE: Duration = Duration::from_millis(20);

/// A consumer without acknowledgements of what `filter` selects after a sequence. The broker keeps it in memory on one
/// node, and removes it when it was not read for `inactive_threshold`.
#[must_use]
pub fn ephemeral_consumer(after: u64, filter: impl Into<String>, inactive_threshold: Duration) -> pull::Config {
    pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        ack_policy: AckPolicy::None,
        filter_subject: filter.into(),
        inactive_threshold,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// One consumer and the inbox that it delivers to.
pub struct Puller {
    js: Context,
    request_subject: String,
    request: String,
    inbox: String,
    inbound: Subscriber,
    batch: usize,
    outstanding: usize,
    /// When the last message or heartbeat arrived or the last request was sent. It outlives a call of
    /// [`Puller::next`]; otherwise a caller that waits less than [`MAX_SILENCE`] per call would never see the loss.
    last_activity: Instant,
    /// Since when the broker answers that nobody takes pull requests.
    unknown_since: Option<Instant>,
}

impl Puller {
    /// Creates the consumer on `stream`, or opens an existing durable one, and prepares pulls of up to `batch`
    /// messages.
    ///
    /// # Errors
    /// The error of the broker or the client.
    pub async fn open(js: &Context, stream: &str, config: pull::Config, batch: usize) -> Result<Self, Cause> {
        crate::broker::connect::ensure_connected(&js.client())?;
        let consumer: PullConsumer = js.create_consumer_on_stream(config, stream).await?;
        let name = &consumer.cached_info().name;
        let inbox = js.client().new_inbox();
        Ok(Self {
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            request: serde_json::json!({
                "batch": batch,
                "expires": nanos(PULL_EXPIRY),
                "idle_heartbeat": nanos(HEARTBEAT_INTERVAL),
            })
            .to_string(),
            inbound: js.client().subscribe(inbox.clone()).await?,
            js: js.clone(),
            inbox,
            batch,
            outstanding: 0,
            last_activity: Instant::now(),
            unknown_since: None,
        })
    }

    /// The next message; `None` for a heartbeat. Cancel-safe.
    ///
    /// # Errors
    /// If the consumer, the request or the connection is lost. The caller must open the consumer again.
    pub async fn next(&mut self) -> Result<Option<Box<Message>>, Cause> {
        loop {
            if self.outstanding == 0 {
                let (subject, inbox) = (self.request_subject.clone(), self.inbox.clone());
                self.js.client().publish_with_reply(subject, inbox, self.request.clone().into()).await?;
                self.outstanding = self.batch;
                self.last_activity = Instant::now();
            }
            // `timeout_at` polls the inbox first, so a caller that reads late still gets what has arrived.
            let Ok(received) = timeout_at(self.last_activity + MAX_SILENCE, self.inbound.next()).await else {
                return Err(format!("no message or heartbeat for {MAX_SILENCE:?}").into());
            };
            self.last_activity = Instant::now();
            let message = received.ok_or("the connection was closed")?;
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                self.outstanding = 0;
                if self.unknown_since.get_or_insert_with(Instant::now).elapsed() >= MAX_UNKNOWN {
                    return Err("no node of the broker knows the consumer".into());
                }
                sleep(UNKNOWN_PAUSE).await;
                continue;
            }
            self.unknown_since = None;
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.outstanding = self.outstanding.saturating_sub(1);
                    return Ok(Some(Box::new(Message { message, context: self.js.clone() })));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => return Ok(None),
                // The request has expired.
                Some(StatusCode::TIMEOUT) => self.outstanding = 0,
                Some(status) => {
                    return Err(format!("{status} {}", message.description.as_deref().unwrap_or_default()).into());
                }
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
