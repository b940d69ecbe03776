//! Reads the log directly from the broker and checks it: no event is stored twice, and each one's expectation was true.
//!
//! Independent of the server's own code; the broker stores each event's expectation in its headers.

use std::collections::BTreeMap;

use dockhost::broker::streams::EVENTS;
use dockhost_domain::envelope::header;
use dockhost_domain::subject::BARRIER;
use futures::StreamExt;

use super::Nats;
use super::wait::{DEADLINE, wait_until};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// The header with the subjects of the expectation, if not the event's own.
pub const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// Events read concurrently.
const CONCURRENT_READS: usize = 64;

/// One stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    /// Its `ce-id`.
    pub id: Option<String>,
    /// Its `ce-type`.
    pub kind: String,
    /// Its trace.
    pub trace_parent: Option<String>,
    /// Its body, with sealed values.
    pub body: String,
    /// The expected last sequence of the subjects that `guard` selects.
    pub expected: Option<u64>,
    pub guard: String,
}

/// All events in order, read from the stream's leader.
pub async fn stored(nats: &Nats) -> Vec<Stored> {
    let broker = nats.main().await;
    let stream = broker.jetstream().get_stream(EVENTS).await.unwrap();
    let state = &stream.cached_info().state;
    assert_eq!(state.deleted_count.unwrap_or(0), 0, "events are missing");
    // A cluster answers 503 while the stream's leader changes, as it may after a node came back.
    let read =
        async |sequence| wait_until("read of the log", DEADLINE, async || stream.get_raw_message(sequence).await).await;
    let messages = futures::stream::iter(state.first_sequence.max(1)..=state.last_sequence).map(read);
    let messages: Vec<_> = messages.buffered(CONCURRENT_READS).collect().await;
    messages
        .iter()
        .filter(|message| message.subject.as_str() != BARRIER)
        .map(|message| Stored {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            id: message.headers.get(header::ID).map(ToString::to_string),
            kind: message.headers.get(header::TYPE).map(ToString::to_string).unwrap_or_default(),
            trace_parent: message.headers.get(header::TRACE_PARENT).map(ToString::to_string),
            body: String::from_utf8_lossy(&message.payload).into_owned(),
            expected: message.headers.get(EXPECTED).map(|value| value.as_str().parse().unwrap()),
            guard: message
                .headers
                .get(EXPECTED_SUBJECT)
                .map_or(message.subject.as_str(), |value| value.as_str())
                .to_owned(),
        })
        .collect()
}

/// Describes each event that was stored although its expectation was false.
#[must_use]
pub fn broken_expectations(log: &[Stored]) -> Vec<String> {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut broken = Vec::new();
    for event in log {
        let end = ends.iter().filter(|(subject, _)| selects(&event.guard, subject)).map(|(_, end)| *end).max();
        let end = end.unwrap_or(0);
        if event.expected.is_some_and(|expected| expected != end) {
            broken.push(format!("{event:?} was stored while {} ended at {end}", event.guard));
        }
        ends.insert(&event.subject, event.sequence);
    }
    broken
}

/// Ids of more than one event.
#[must_use]
pub fn duplicates(log: &[Stored]) -> Vec<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in log.iter().filter_map(|event| event.id.as_deref()) {
        *counts.entry(id).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect()
}

/// Whether a filter, which may contain `*` and end in `>`, selects a subject.
fn selects(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in filter.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}
