//! A pull consumer read by hand. In: a consumer of any stream. Out: its messages, and a heartbeat whenever there is
//! nothing to say.
//!
//! Our own loop over the broker's pull requests, because the client's readers hide the idle heartbeats (a replica must
//! know whether it hears the log) and may wait for ever after one was missed. Whatever is odd ends in
//! [`Pulled::Broken`]; the reader above opens anew where it stands.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{Context, Message};
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::common::error::Cause;

/// The broker says this often that it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Silence for longer means that the pull request or the connection is gone.
const SILENCE: Duration = Duration::from_secs(2);
/// A pull request ends after this long and is made anew.
const EXPIRES: Duration = Duration::from_secs(30);

/// What a pull brings.
#[derive(Debug)]
pub enum Pulled {
    /// The next message.
    Message(Box<Message>),
    /// Nothing new; the broker is there.
    Heartbeat,
    /// The consumer, the request or the connection is gone: open anew.
    Broken(Cause),
}

/// A consumer that nobody acknowledges to and nobody takes up again: what `filter` selects after a sequence. The broker
/// keeps it in memory, on one node, and forgets it when nobody has asked it for `forgotten_after`.
#[must_use]
pub fn throwaway(after: u64, filter: impl Into<String>, forgotten_after: Duration) -> pull::Config {
    pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        ack_policy: AckPolicy::None,
        filter_subject: filter.into(),
        inactive_threshold: forgotten_after,
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
    /// When anything was heard last, or asked for: kept over calls, or one who waits less than [`SILENCE`] each time
    /// would wait for ever.
    heard: Instant,
}

impl Puller {
    /// Makes the consumer on `stream`, or takes up a durable one, and gets ready to pull up to `batch` at a time.
    ///
    /// # Errors
    /// What the broker or the client says.
    pub async fn open(js: &Context, stream: &str, config: pull::Config, batch: usize) -> Result<Self, Cause> {
        crate::broker::connect::connected(&js.client())?;
        let consumer: PullConsumer = js.create_consumer_on_stream(config, stream).await?;
        let name = &consumer.cached_info().name;
        let inbox = js.client().new_inbox();
        Ok(Self {
            request_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            request: serde_json::json!({
                "batch": batch,
                "expires": nanos(EXPIRES),
                "idle_heartbeat": nanos(HEARTBEAT),
            })
            .to_string(),
            inbound: js.client().subscribe(inbox.clone()).await?,
            js: js.clone(),
            inbox,
            batch,
            outstanding: 0,
            heard: Instant::now(),
        })
    }

    /// The next message or sign of life; ends when there was none for [`SILENCE`]. May be dropped while it waits.
    pub async fn next(&mut self) -> Pulled {
        loop {
            if self.outstanding == 0 {
                let (subject, inbox) = (self.request_subject.clone(), self.inbox.clone());
                if let Err(error) =
                    self.js.client().publish_with_reply(subject, inbox, self.request.clone().into()).await
                {
                    return Pulled::Broken(error.into());
                }
                self.outstanding = self.batch;
                self.heard = Instant::now();
            }
            // What has arrived counts before the time does: whoever reads late has not heard late.
            let Ok(heard) = timeout_at(self.heard + SILENCE, self.inbound.next()).await else {
                return Pulled::Broken(format!("nothing heard for {SILENCE:?}").into());
            };
            self.heard = Instant::now();
            let Some(message) = heard else {
                return Pulled::Broken("the connection was closed".into());
            };
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.outstanding = self.outstanding.saturating_sub(1);
                    return Pulled::Message(Box::new(Message { message, context: self.js.clone() }));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => return Pulled::Heartbeat,
                // The request has run its time.
                Some(StatusCode::TIMEOUT) => self.outstanding = 0,
                Some(status) => {
                    let why = message.description.as_deref().unwrap_or_default().to_owned();
                    return Pulled::Broken(format!("{status} {why}").into());
                }
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
