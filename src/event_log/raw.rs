//! EVENTS as stored: messages that are neither opened nor decoded, for copies of the log.
//!
//! The stream's leader tells where the log ends. A consumer may sit on a replica that lags, but a replica holds a
//! prefix of the leader's log, so a read that reaches the leader's last sequence is complete.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{Context, ErrorCode, Message};
use bytes::Bytes;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::ALL_EVENTS;
use tokio::time::{Instant, sleep};

use super::leader_reads::LeaderReads;
use super::size::LogSize;
use super::{LogError, jetstream};
use crate::broker::consumer::ordered::{OrderedConfig, OrderedConsumer};
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;

/// Some megabytes.
const MESSAGES_PER_PULL: usize = 5000;
/// A read fails when no message arrived for this long, over all attempts.
const MAX_STALL: Duration = Duration::from_secs(60);
/// After this long with heartbeats only, the consumer is created again.
const MAX_QUIET: Duration = Duration::from_secs(10);
const REOPEN_INTERVAL: Duration = Duration::from_millis(500);
/// The prefix of headers that instruct the broker. They are stored, but belong to one publish only.
const BROKER_HEADER_PREFIX: &str = "nats-";

/// A stored message.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// When the broker stored it, in nanoseconds since 1970.
    pub nanos: i128,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl RawEvent {
    fn of(message: &Message) -> Result<Self, Cause> {
        let info = message.info()?;
        Ok(Self {
            sequence: info.stream_sequence,
            subject: message.subject.to_string(),
            nanos: info.published.unix_timestamp_nanos(),
            headers: message.headers.clone().unwrap_or_default(),
            body: message.payload.clone(),
        })
    }

    /// The headers that belong to the event, without those of the publish that stored it.
    #[must_use]
    pub fn own_headers(&self) -> HeaderMap {
        let own = self.headers.iter().filter(|(name, _)| !is_broker_header(name.as_ref()));
        own.flat_map(|(name, values)| values.iter().map(|value| (name.clone(), value.clone()))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    /// Whether both are the same event, whenever and however each was stored.
    #[must_use]
    pub fn same_event(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.subject == other.subject
            && self.body == other.body
            && self.own_headers() == other.own_headers()
    }
}

fn is_broker_header(name: &str) -> bool {
    name.get(..BROKER_HEADER_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(BROKER_HEADER_PREFIX))
}

/// The stored messages of EVENTS.
#[derive(Debug, Clone)]
pub struct RawLog {
    js: Context,
    reads: LeaderReads,
    incarnation: Incarnation,
}

impl RawLog {
    /// Opens the stream without changing it; `None` if it does not exist.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn open(js: &Context) -> Result<Option<Self>, LogError> {
        let stream = match js.get_stream(EVENTS).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(ref reply) if reply.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    return Ok(None);
                }
                _ => return Err(LogError::Unavailable(error.into())),
            },
        };
        let reads = LeaderReads::new(js).await.map_err(|error| LogError::Unavailable(error.into()))?;
        Ok(Some(Self { js: js.clone(), reads, incarnation: jetstream::incarnation(stream.cached_info()) }))
    }

    /// Which log this is.
    #[must_use]
    pub const fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// The last sequence; 0 if the log is empty.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn end(&self) -> Result<u64, LogError> {
        self.reads.end().await
    }

    /// How full the log is.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn size(&self) -> Result<LogSize, LogError> {
        Ok(jetstream::size(&self.reads.state().await?))
    }

    /// The message at a sequence.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn at(&self, sequence: u64) -> Result<Option<RawEvent>, LogError> {
        let found = self.reads.next(ALL_EVENTS, sequence).await?.filter(|message| message.sequence == sequence);
        Ok(found.map(|message| RawEvent {
            sequence,
            subject: message.subject.to_string(),
            nanos: message.time.unix_timestamp_nanos(),
            headers: message.headers,
            body: message.payload,
        }))
    }

    /// Reads `after < sequence <= to`; `to` must be stored already.
    #[must_use]
    pub fn read(&self, after: u64, to: u64) -> RawReader {
        let config = OrderedConfig {
            stream: EVENTS,
            filter: ALL_EVENTS.to_owned(),
            after,
            messages_per_pull: MESSAGES_PER_PULL,
            inactive_threshold: Duration::from_secs(30),
        };
        RawReader { consumer: OrderedConsumer::new(self.js.clone(), config), to }
    }
}

/// One ordered read.
pub struct RawReader {
    consumer: OrderedConsumer,
    to: u64,
}

impl RawReader {
    /// The next message; `None` after the last one.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when nothing could be read for a minute, or the log lacks a sequence.
    pub async fn next(&mut self) -> Result<Option<RawEvent>, LogError> {
        let position = self.consumer.position();
        if position == self.to {
            return Ok(None);
        }
        let started = Instant::now();
        loop {
            let cause = match self.next_message().await {
                Ok(raw) if raw.sequence == position + 1 => return Ok(Some(raw)),
                Ok(_) => return Err(LogError::Unavailable(format!("the log lacks event {}", position + 1).into())),
                Err(cause) => cause,
            };
            if started.elapsed() >= MAX_STALL {
                return Err(LogError::Unavailable(cause));
            }
            tracing::debug!(position, %cause, "reopening the consumer");
            self.consumer.reset();
            sleep(REOPEN_INTERVAL).await;
        }
    }

    async fn next_message(&mut self) -> Result<RawEvent, Cause> {
        let started = Instant::now();
        loop {
            match self.consumer.next().await? {
                Some((_, message)) => return RawEvent::of(&message),
                // The consumer's replica lags behind the leader, or the consumer is stuck.
                None if started.elapsed() < MAX_QUIET => {}
                None => return Err(format!("no message for {MAX_QUIET:?}").into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(headers: &[(&str, &str)]) -> RawEvent {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        RawEvent { sequence: 1, subject: "s".to_owned(), nanos: 0, headers: map, body: "b".into() }
    }

    #[test]
    fn same_event_ignores_broker_headers_and_time() {
        let first = raw(&[("ce-id", "1"), ("Nats-Expected-Last-Subject-Sequence", "0"), ("Nats-Msg-Id", "1")]);
        let again = RawEvent { nanos: 9, ..raw(&[("ce-id", "1"), ("nats-expected-last-sequence", "0")]) };
        assert!(first.same_event(&again));
        assert_eq!(first.own_headers(), raw(&[("ce-id", "1")]).headers);
    }

    #[test]
    fn same_event_compares_sequence_subject_headers_and_body() {
        let event = raw(&[("ce-id", "1")]);
        assert!(!event.same_event(&raw(&[("ce-id", "2")])));
        assert!(!event.same_event(&raw(&[("ce-id", "1"), ("traceparent", "x")])));
        assert!(!event.same_event(&RawEvent { body: "c".into(), ..event.clone() }));
        assert!(!event.same_event(&RawEvent { subject: "t".to_owned(), ..event.clone() }));
        assert!(!event.same_event(&RawEvent { sequence: 2, ..event.clone() }));
    }
}
