//! Reads of one aggregate: the first few events one by one from the stream's leader, a longer rest through a consumer.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::message::StreamMessage;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::subject::AggregateId;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::time::{Instant, sleep, timeout_at};

use super::JetStreamLog;
use crate::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
use crate::broker::streams::EVENTS;
use crate::event_log::codec::{Decoded, StoredMessage};
use crate::event_log::{FirstPage, LogError};

/// Events that are read one by one. Creating a consumer costs about as much as four reads.
const MAX_SINGLE_READS: usize = 4;
const MESSAGES_PER_PULL: usize = 2000;
const MESSAGES_PER_DECODE_TASK: usize = 250;
/// The pause before another consumer is created after one that broke.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl JetStreamLog {
    /// The first few events after a sequence.
    pub(super) async fn first_page(&self, subject: &str, after: u64) -> Result<FirstPage, LogError> {
        let mut events = Vec::new();
        let mut position = after;
        for _ in 0..MAX_SINGLE_READS {
            let Some(message) = self.reads.next(subject, position + 1).await? else {
                return Ok(FirstPage { events, complete: true });
            };
            position = message.sequence;
            events.push(self.recorded(&message).await?);
        }
        Ok(FirstPage { events, complete: false })
    }

    pub(super) async fn load_tail(&self, aggregate: AggregateId, after: u64) -> Result<Vec<RecordedEvent>, LogError> {
        let subject = aggregate.to_string();
        let FirstPage { mut events, complete } = self.first_page(&subject, after).await?;
        if !complete {
            let position = events.last().map_or(after, |last| last.sequence);
            self.load_rest(subject, position, &mut events).await?;
        }
        Ok(events)
    }

    /// Reads the rest through a consumer. The consumer may sit on a replica that lags, but a replica holds a prefix of
    /// the leader's log, so a read that reaches the leader's last sequence is complete. Decoding takes longer than
    /// reading and runs in tasks of its own. A load fails when it makes no progress for `append_timeout`.
    async fn load_rest(&self, subject: String, after: u64, events: &mut Vec<RecordedEvent>) -> Result<(), LogError> {
        let last = self.reads.last_sequence(&subject).await?;
        let config = OrderedConfig {
            stream: EVENTS,
            filter: subject,
            after,
            messages_per_pull: MESSAGES_PER_PULL,
            inactive_threshold: Duration::from_secs(5),
        };
        let mut consumer = OrderedConsumer::new(self.js.clone(), config);
        let mut deadline = Instant::now() + self.options.append_timeout;
        let (mut chunk, mut decoding) = (Vec::new(), FuturesOrdered::new());
        while consumer.position() < last {
            let next = timeout_at(deadline, consumer.next()).await;
            let (sequence, message) = match next.map_err(|elapsed| LogError::Unavailable(elapsed.into()))? {
                Ok(Some(next)) => next,
                Ok(None) => continue,
                // The consumer broke, for example with its node; the next call creates another.
                Err(cause) if Instant::now() + RETRY_PAUSE >= deadline => return Err(LogError::Unavailable(cause)),
                Err(_) => {
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            deadline = Instant::now() + self.options.append_timeout;
            chunk.push((sequence, *message));
            if chunk.len() == MESSAGES_PER_DECODE_TASK || sequence >= last {
                decoding.push_back(tokio::spawn(self.clone().decode_chunk(std::mem::take(&mut chunk))));
            }
        }
        while let Some(decoded) = decoding.next().await {
            events.extend(decoded.map_err(|error| LogError::Unavailable(error.into()))??);
        }
        Ok(())
    }

    async fn decode_chunk(self, messages: Vec<(u64, Message)>) -> Result<Vec<RecordedEvent>, LogError> {
        let mut events = Vec::with_capacity(messages.len());
        for (sequence, message) in messages {
            let headers = message.message.headers.unwrap_or_default();
            let (subject, body) = (&message.message.subject, &message.message.payload);
            events.push(self.decode_or_freeze(&StoredMessage { sequence, subject, headers: &headers, body }).await?);
        }
        Ok(events)
    }

    async fn recorded(&self, message: &StreamMessage) -> Result<RecordedEvent, LogError> {
        self.decode_or_freeze(&StoredMessage {
            sequence: message.sequence,
            subject: &message.subject,
            headers: &message.headers,
            body: &message.payload,
        })
        .await
    }

    /// Decodes an event; an unreadable one makes the load fail as frozen.
    async fn decode_or_freeze(&self, stored: &StoredMessage<'_>) -> Result<RecordedEvent, LogError> {
        match self.codec.decode(stored).await {
            Ok(Decoded::Event(recorded)) => Ok(Arc::unwrap_or_clone(recorded)),
            Ok(Decoded::Barrier) => Err(LogError::Unavailable("a barrier on an aggregate's subject".into())),
            Ok(Decoded::Unreadable { sequence, why }) => Err(LogError::Frozen { sequence, why: why.into() }),
            Err(error) => Err(LogError::Unavailable(error.into())),
        }
    }
}
