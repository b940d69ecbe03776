//! Checks [`Aggregate::FOLD_DIGESTS`]: digests of the states that each fold computes from the golden events.
//!
//! The digest covers all states of 1,000 fixed pseudo-random histories, with seconds or days between events. A replica
//! loads a snapshot if its fold version is equal, so a fold with another digest needs another version.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Aggregate, Meta};
use crate::account::Account;
use crate::backend::Backend;
use crate::claim::Claim;
use crate::event::{Encoded, Event};
use crate::session::Sessions;
use crate::subject::AggregateId;
use crate::tenancy::Tenancy;
use crate::testing::{at, event_id, golden};

const HISTORIES: usize = 1000;
const EVENTS_PER_HISTORY: u128 = 12;
const DAY: i64 = 24 * 60 * 60;

#[derive(Deserialize)]
struct Golden {
    subject: AggregateSubject,
    #[serde(flatten)]
    event: Encoded,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct AggregateSubject(AggregateId);

impl TryFrom<String> for AggregateSubject {
    type Error = crate::subject::InvalidSubject;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// The golden events of one kind of aggregate, by file. One with a placement or a generation occurs with each of the
/// numbers 1 to 3, because only a matching number changes a state.
fn events<A: Aggregate>(kind: &str) -> Vec<Vec<A::Event>> {
    let files = golden::names("").into_iter().map(|name| golden::read::<Vec<Golden>>(&name));
    let files = files.filter(|bodies| bodies.iter().all(|body| body.subject.0.kind() == kind));
    files.map(|bodies| bodies.into_iter().flat_map(|body| numbered::<A>(&body)).collect()).collect()
}

fn numbered<A: Aggregate>(golden: &Golden) -> Vec<A::Event> {
    let mut bodies = vec![golden.event.data.clone()];
    for member in ["placement", "generation"] {
        if golden.event.data.get(member).is_some() {
            let with = |body: &Value, number: u32| {
                let mut body = body.clone();
                body[member] = number.into();
                body
            };
            bodies = bodies.iter().flat_map(|body| (1..=3).map(move |number| with(body, number))).collect();
        }
    }
    let decoded = bodies.into_iter().map(|data| {
        let event = Event::decode(&golden.subject.0, Encoded { kind: golden.event.kind.clone(), data }).unwrap();
        A::event(&event).unwrap().clone()
    });
    decoded.collect()
}

/// A pseudo-random generator that no library update changes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn digest<A: Aggregate + PartialEq>(kind: &str) -> String {
    let events = events::<A>(kind);
    assert!(!events.is_empty(), "{kind} has no golden events");
    let (mut digest, mut dice) = (Sha256::new(), Dice(1));
    for _ in 0..HISTORIES {
        let (mut state, mut seconds) = (A::default(), 0);
        for nth in 1..=EVENTS_PER_HISTORY {
            let file = &events[dice.roll(events.len())];
            let event = &file[dice.roll(file.len())];
            seconds += [1, 1, 1, 3 * DAY][dice.roll(4)];
            state.evolve(event, &Meta { id: event_id(nth), time: at(seconds) });
            digest.update(serde_json::to_vec(&state).unwrap());
        }
        let json = serde_json::to_vec(&state).unwrap();
        assert!(serde_json::from_slice::<A>(&json).unwrap() == state, "{}", String::from_utf8_lossy(&json));
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[track_caller]
fn check<A: Aggregate + PartialEq>(kind: &str) {
    let (version, found) = (A::FOLD_VERSION, digest::<A>(kind));
    assert!(
        A::FOLD_DIGESTS.last() == Some(&found.as_str()),
        "{kind}: this fold computed other states from the golden events than version {version} (or there were fewer \
         events). Append to `FOLD_DIGESTS`, so that no replica loads a snapshot of the other fold:\n\"{found}\",",
    );
}

#[test]
fn account_fold_matches_its_version() {
    check::<Account>("account");
}

#[test]
fn backend_fold_matches_its_version() {
    check::<Backend>("backend");
}

#[test]
fn claim_fold_matches_its_version() {
    check::<Claim>("claim");
}

#[test]
fn session_fold_matches_its_version() {
    check::<Sessions>("session");
}

#[test]
fn tenancy_fold_matches_its_version() {
    check::<Tenancy>("tenancy");
}
