//! Checks [`Aggregate::FOLD_DIGESTS`]: digests of the states that each fold computes from the golden events.
//!
//! The digest covers all states of 1,000 fixed pseudo-random histories, with seconds or days between events. A replica
//! loads a snapshot if its fold version is equal, so a fold with another digest needs another version.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Aggregate, Meta};
use crate::account::Account;
use crate::administrators::Administrators;
use crate::backend::Backend;
use crate::claim::Claim;
use crate::enrolment::EnrolmentTokens;
use crate::golden::{self, Dice};
use crate::group::Groups;
use crate::invitation::Invitations;
use crate::refusal::Refusals;
use crate::session::Sessions;
use crate::tenancy::Tenancy;
use crate::testing::{at, event_id};
use crate::webhook::Webhooks;

const HISTORIES: usize = 1000;
const EVENTS_PER_HISTORY: u128 = 12;

/// The golden events of one kind of aggregate, by file.
fn events<A: Aggregate>(kind: &str) -> Vec<Vec<A::Event>> {
    let files = golden::names("").into_iter().map(|name| golden::events(&name));
    let files = files.filter(|events| events.iter().all(|(aggregate, _)| aggregate.kind() == kind));
    files.map(|events| events.iter().map(|(_, event)| A::event(event).unwrap().clone()).collect()).collect()
}

fn digest<A: Aggregate + PartialEq>(kind: &str) -> String {
    let events = events::<A>(kind);
    assert!(!events.is_empty(), "{kind} has no golden events");
    let (mut digest, mut dice) = (Sha256::new(), Dice::default());
    for _ in 0..HISTORIES {
        let (mut state, mut seconds) = (A::default(), 0);
        for nth in 1..=EVENTS_PER_HISTORY {
            let file = &events[dice.roll(events.len())];
            let event = &file[dice.roll(file.len())];
            seconds += dice.pause();
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
fn administrators_fold_matches_its_version() {
    check::<Administrators>("administrators");
}

#[test]
fn backend_fold_matches_its_version() {
    check::<Backend>("backend");
}

#[test]
fn enrolment_tokens_fold_matches_its_version() {
    check::<EnrolmentTokens>("enrolment-tokens");
}

#[test]
fn groups_fold_matches_its_version() {
    check::<Groups>("groups");
}

#[test]
fn refusals_fold_matches_its_version() {
    check::<Refusals>("refusals");
}

#[test]
fn invitations_fold_matches_its_version() {
    check::<Invitations>("invitations");
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
fn webhooks_fold_matches_its_version() {
    check::<Webhooks>("webhooks");
}

#[test]
fn tenancy_fold_matches_its_version() {
    check::<Tenancy>("tenancy");
}
