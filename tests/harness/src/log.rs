//! The log as it lies in the broker, and what must be true of any: no event twice, and each one stored where its
//! expectation was true.
//!
//! In: a broker. Out: its events with the expectations that they came with, which the broker keeps, and what is wrong
//! with them. It believes nothing that the server or its adapter says.

use std::collections::BTreeMap;

use dockhost::broker::streams::EVENTS;
use dockhost_domain::envelope::header;
use futures::{StreamExt, TryStreamExt};

use super::Nats;

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// The subjects that the expectation is about, if not the event's own.
pub const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// Events read at once.
const AT_ONCE: usize = 64;

/// One stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    /// Its `ce-id`.
    pub id: Option<String>,
    /// Where the subjects that `guard` selects were expected to end.
    pub expected: Option<u64>,
    pub guard: String,
}

/// All events, in order, as the stream's leader has them.
pub async fn stored(nats: &Nats) -> Vec<Stored> {
    let broker = nats.main().await;
    let stream = broker.jetstream().get_stream(EVENTS).await.unwrap();
    let state = &stream.cached_info().state;
    assert_eq!(state.deleted_count.unwrap_or(0), 0, "events are missing");
    let read = async |sequence| stream.get_raw_message(sequence).await;
    let messages = futures::stream::iter(state.first_sequence.max(1)..=state.last_sequence).map(read);
    let messages: Vec<_> = messages.buffered(AT_ONCE).try_collect().await.unwrap();
    messages
        .iter()
        .map(|message| Stored {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            id: message.headers.get(header::ID).map(ToString::to_string),
            expected: message.headers.get(EXPECTED).map(|value| value.as_str().parse().unwrap()),
            guard: message.headers.get(EXPECTED_OF).map_or(message.subject.as_str(), |value| value.as_str()).to_owned(),
        })
        .collect()
}

/// Events that were stored although what they expected was not so, in words.
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

/// Ids that more than one event has.
#[must_use]
pub fn doubled(log: &[Stored]) -> Vec<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in log.iter().filter_map(|event| event.id.as_deref()) {
        *counts.entry(id).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect()
}

/// Whether a filter, which may hold `*` and end in `>`, selects a subject.
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
