//! A pull consumer read by hand. In: a consumer of any stream. Out: its messages, and a heartbeat whenever there is
//! nothing to say.
//!
//! Our own loop over the broker's pull requests, because the client's readers hide the idle heartbeats (a replica must
//! know whether it hears the log) and may wait for ever after one was missed. Whatever is odd ends in
//! [`PullResult::Broken`]; the reader above opens anew where it stands.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{Context, Message};
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::common::error::Cause;

/// The broker says this often that it is there.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Silence for longer means that the pull request or the connection is gone.
const MAX_SILENCE: Duration = Duration::from_secs(2);
/// A pull request ends after this long and is made anew.
const PULL_EXPIRY: Duration = Duration::from_secs(30);

/// What a pull brings.
#[derive(Debug)]
pub enum PullResult {
    /// The next message.
    Message(Box<Message>),
    /// Nothing new; the broker is there.
    Heartbeat,
    /// The consumer, the request or the connection is gone: open anew.
    Broken(Cause),
}

/// A consumer that nobody acknowledges to and nobody takes up again: what `filter` selects after a sequence. The broker
/// keeps it in memory, on one node, and forgets it when nobody has asked it for `inactive_threshold`.
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
    /// When anything was heard last, or asked for: kept over calls, or one who waits less than [`MAX_SILENCE`] each time
    /// would wait for ever.
    last_activity: Instant,
}

impl Puller {
    /// Makes the consumer on `stream`, or takes up a durable one, and gets ready to pull up to `batch` at a time.
    ///
    /// # Errors
    /// What the broker or the client says.
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
        })
    }

    /// The next message or sign of life; ends when there was none for [`MAX_SILENCE`]. May be dropped while it waits.
    pub async fn next(&mut self) -> PullResult {
        loop {
            if self.outstanding == 0 {
                let (subject, inbox) = (self.request_subject.clone(), self.inbox.clone());
                if let Err(error) =
                    self.js.client().publish_with_reply(subject, inbox, self.request.clone().into()).await
                {
                    return PullResult::Broken(error.into());
                }
                self.outstanding = self.batch;
                self.last_activity = Instant::now();
            }
            // What has arrived counts before the time does: whoever reads late has not heard late.
            let Ok(heard) = timeout_at(self.last_activity + MAX_SILENCE, self.inbound.next()).await else {
                return PullResult::Broken(format!("nothing heard for {MAX_SILENCE:?}").into());
            };
            self.last_activity = Instant::now();
            let Some(message) = heard else {
                return PullResult::Broken("the connection was closed".into());
            };
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.outstanding = self.outstanding.saturating_sub(1);
                    return PullResult::Message(Box::new(Message { message, context: self.js.clone() }));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => return PullResult::Heartbeat,
                // The request has run its time.
                Some(StatusCode::TIMEOUT) => self.outstanding = 0,
                Some(status) => {
                    let why = message.description.as_deref().unwrap_or_default().to_owned();
                    return PullResult::Broken(format!("{status} {why}").into());
                }
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
