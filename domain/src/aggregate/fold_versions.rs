//! The guard of [`Aggregate::FOLD_VERSION`]: what each fold makes of the golden events, by its digest.
//!
//! In: all golden bodies of one kind of aggregate, in every order of three, with seconds or days between. Out: one
//! digest of all states on the way. A replica believes another's snapshot if the versions are equal, so a fold whose
//! digest has changed must have another version.

use std::fmt::Write;

use serde::Deserialize;
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

/// Kind, version, digest. A line that is there never changes; another version is another line.
const FOLDS: &[(&str, u32, &str)] = &[
    ("account", 1, "bded9764f6c51063baff104127114d389f173f1ff8a4469c7d0116c0a549ac01"),
    ("backend", 1, "0fcc9e2ed430ad034cea92060dc3e5c98dab48f37b5c293751e18ccffa135c13"),
    ("claim", 1, "bee4b894aa7fa97f1647c69b986755287221abe01cbda789af5a70442334b37f"),
    ("session", 1, "54ce9c68f11770a68e0f90e82ce4c9431dd7929e0cce6637d9f3e890a470881b"),
    ("tenancy", 1, "a3e4ffda3e1243b1728bb27da1f0e8ff1f71d4841bff9c37b1ca6af4871e64e4"),
];

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

/// The golden events of one kind, in the order of their files.
fn events<A: Aggregate>(kind: &str) -> Vec<A::Event> {
    let bodies = golden::names("").into_iter().flat_map(|name| golden::read::<Vec<Golden>>(&name));
    let bodies = bodies.filter(|golden| golden.subject.0.kind() == kind);
    let events = bodies.map(|golden| Event::decode(&golden.subject.0, golden.event).unwrap());
    events.map(|event| A::event(&event).unwrap().clone()).collect()
}

/// The state after one more event, so many seconds after the beginning; what is kept of it must be the same state.
fn after<A: Aggregate + PartialEq>(state: &A, event: &A::Event, nth: u128, seconds: i64, digest: &mut Sha256) -> A {
    let mut state = state.clone();
    state.evolve(event, &Meta { id: event_id(nth), time: at(seconds) });
    let kept = serde_json::to_vec(&state).unwrap();
    digest.update(&kept);
    if nth < 3 {
        assert!(serde_json::from_slice::<A>(&kept).unwrap() == state, "{}", String::from_utf8_lossy(&kept));
    }
    state
}

fn digest<A: Aggregate + PartialEq>(kind: &str) -> String {
    let events = events::<A>(kind);
    assert!(!events.is_empty(), "{kind} has no golden events");
    let mut digest = Sha256::new();
    for first in &events {
        let one = after(&A::default(), first, 1, 1, &mut digest);
        for second in &events {
            let two = after(&one, second, 2, 2, &mut digest);
            for third in &events {
                for seconds in [3, 8 * DAY] {
                    after(&two, third, 3, seconds, &mut digest);
                }
            }
        }
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[track_caller]
fn check<A: Aggregate + PartialEq>(kind: &str) {
    let (version, found) = (A::FOLD_VERSION, digest::<A>(kind));
    match FOLDS.iter().find(|(listed, number, _)| (*listed, *number) == (kind, version)) {
        Some((_, _, shipped)) if *shipped == found => {}
        Some(_) => panic!(
            "{kind}: the fold makes other states of the golden events than version {version} did (or there are more \
             of them). Raise its `FOLD_VERSION` to {next}, so that no replica believes a snapshot of the other fold, \
             and append to `FOLDS`:\n(\"{kind}\", {next}, \"{found}\"),",
            next = version + 1,
        ),
        None => {
            panic!("{kind}: version {version} is not listed; append to `FOLDS`:\n(\"{kind}\", {version}, \"{found}\"),")
        }
    }
}

#[test]
fn the_fold_of_accounts_is_of_its_version() {
    check::<Account>("account");
}

#[test]
fn the_fold_of_backends_is_of_its_version() {
    check::<Backend>("backend");
}

#[test]
fn the_fold_of_claims_is_of_its_version() {
    check::<Claim>("claim");
}

#[test]
fn the_fold_of_sessions_is_of_its_version() {
    check::<Sessions>("session");
}

#[test]
fn the_fold_of_tenancies_is_of_its_version() {
    check::<Tenancy>("tenancy");
}
