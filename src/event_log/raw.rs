//! EVENTS as it is stored: messages that nobody opens or understands, for copies of the log.
//!
//! In: a range. Out: its messages in order and without a gap, read by a consumer that is made anew when it breaks. What
//! a copy must not miss is asked of the stream's leader: a consumer may sit on a replica that lags, but a replica holds
//! a prefix, so what reaches the leader's last sequence is complete.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{Context, ErrorCode, Message};
use bytes::Bytes;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::ALL_EVENTS;
use tokio::time::{Instant, sleep};

use super::leader_reads::LeaderReads;
use super::{LogError, jetstream};
use crate::broker::consumer::pull::{PullResult, Puller, ephemeral_consumer};
use crate::broker::streams::EVENTS;
use crate::common::error::Cause;

/// Messages asked for at once: some megabytes.
const MESSAGES_PER_PULL: usize = 5000;
/// Reading is given up when nothing came for so long.
const MAX_STALL: Duration = Duration::from_secs(60);
const REOPEN_INTERVAL: Duration = Duration::from_millis(500);
/// Headers by which the broker is told what to do with a message. They are stored, but belong to the one publish.
const BROKER_HEADER_PREFIX: &str = "nats-";

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEvent {
    /// Its place.
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
    fn of(message: &Message) -> Result<(Self, u64), Cause> {
        let info = message.info()?;
        let raw = Self {
            sequence: info.stream_sequence,
            subject: message.subject.to_string(),
            nanos: info.published.unix_timestamp_nanos(),
            headers: message.headers.clone().unwrap_or_default(),
            body: message.payload.clone(),
        };
        Ok((raw, info.consumer_sequence))
    }

    /// The headers that belong to the event, not to the publish that stored it.
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

    /// Whether both hold the same event, whenever and however each was stored.
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
    /// Opens the stream as it is, changing nothing; none if it isn't there.
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

    /// Which log it is.
    #[must_use]
    pub const fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// The last sequence now; 0 if the log is empty.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn end(&self) -> Result<u64, LogError> {
        self.reads.last_sequence(ALL_EVENTS).await
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
        RawReader { js: self.js.clone(), position: after, to, puller: None, delivered: 0 }
    }
}

/// One ordered read.
pub struct RawReader {
    js: Context,
    position: u64,
    to: u64,
    puller: Option<Puller>,
    /// The consumer's own count of what it delivered.
    delivered: u64,
}

impl RawReader {
    /// The next message; none after the last one.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when nothing could be read for a minute, or when the log lacks a message.
    pub async fn next(&mut self) -> Result<Option<RawEvent>, LogError> {
        if self.position == self.to {
            return Ok(None);
        }
        let started = Instant::now();
        loop {
            let cause = match self.attempt().await {
                Ok(Some((raw, count))) if count == self.delivered + 1 => {
                    let next = self.position + 1;
                    if raw.sequence != next {
                        return Err(LogError::Unavailable(format!("the log lacks event {next}").into()));
                    }
                    (self.position, self.delivered) = (next, count);
                    return Ok(Some(raw));
                }
                Ok(Some(_)) => "a message was lost on the way".into(),
                Ok(None) => "nothing came".into(),
                Err(cause) => cause,
            };
            if started.elapsed() >= MAX_STALL {
                return Err(LogError::Unavailable(cause));
            }
            tracing::debug!(position = self.position, %cause, "reading anew");
            self.puller = None;
            sleep(REOPEN_INTERVAL).await;
        }
    }

    async fn attempt(&mut self) -> Result<Option<(RawEvent, u64)>, Cause> {
        if self.puller.is_none() {
            let config = ephemeral_consumer(self.position, ALL_EVENTS, Duration::from_secs(30));
            self.puller = Some(Puller::open(&self.js, EVENTS, config, MESSAGES_PER_PULL).await?);
            self.delivered = 0;
        }
        let Some(puller) = &mut self.puller else { return Ok(None) };
        let quiet = Instant::now();
        loop {
            match puller.next().await {
                PullResult::Message(message) => return RawEvent::of(&message).map(Some),
                // The consumer's replica lags behind the leader that named the end, or the consumer is stuck.
                PullResult::Heartbeat if quiet.elapsed() < MAX_STALL / 6 => {}
                PullResult::Heartbeat => return Ok(None),
                PullResult::Broken(cause) => return Err(cause),
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
    fn how_an_event_was_published_is_not_a_part_of_it() {
        let first = raw(&[("ce-id", "1"), ("Nats-Expected-Last-Subject-Sequence", "0"), ("Nats-Msg-Id", "1")]);
        let again = RawEvent { nanos: 9, ..raw(&[("ce-id", "1"), ("nats-expected-last-sequence", "0")]) };
        assert!(first.same_event(&again));
        assert_eq!(first.own_headers(), raw(&[("ce-id", "1")]).headers);
    }

    #[test]
    fn anything_else_is() {
        let event = raw(&[("ce-id", "1")]);
        assert!(!event.same_event(&raw(&[("ce-id", "2")])));
        assert!(!event.same_event(&raw(&[("ce-id", "1"), ("traceparent", "x")])));
        assert!(!event.same_event(&RawEvent { body: "c".into(), ..event.clone() }));
        assert!(!event.same_event(&RawEvent { subject: "t".to_owned(), ..event.clone() }));
        assert!(!event.same_event(&RawEvent { sequence: 2, ..event.clone() }));
    }
}
