use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{account, created, uuid};
use crate::users::{UserDocument, Users};

fn subject(n: u64) -> String {
    AggregateId::Account(UserId::from_uuid(uuid(n))).to_string()
}

fn unreadable(sequence: u64, n: u64) -> LogEntry {
    LogEntry::Unreadable(Unreadable::new(subject(n), sequence, "unknown type"))
}

fn event(sequence: u64, n: u64, name: &str) -> LogEntry {
    LogEntry::Event(Arc::new(account(sequence, n, created(name))))
}

/// A model whose fold panics on people called `bomb`, after it has seen who else is there.
struct Touchy;

impl ReadModel for Touchy {
    const NAME: &'static str = "touchy";
    const FOLD_VERSION: u32 = 1;
    const KIND: &'static str = "account";
    const INDEXES: &'static [&'static [&'static str]] = &[];
    type Document = UserDocument;

    fn keys(event: &Envelope) -> Vec<UserId> {
        Users::keys(event)
    }

    fn fold(id: UserId, document: Option<UserDocument>, recorded: &RecordedEvent) -> Option<UserDocument> {
        let after = Users::fold(id, document, recorded);
        let name = after.as_ref().and_then(|user| user.username.as_ref()).map(Username::as_str);
        assert_ne!(name, Some("bomb"), "ordered by a test");
        after
    }
}

fn names<M: ReadModel<Document = UserDocument>>(entries: &[LogEntry]) -> (Vec<(String, u64)>, Quarantine) {
    let (mut folded, mut quarantine) = (Folded::<M>::default(), Quarantine::default());
    for entry in entries {
        quarantine.fold(&mut folded, entry).unwrap();
    }
    let named = folded.documents().map(|user| (user.username.as_ref().unwrap().as_str().to_owned(), user.seq));
    (named.collect(), quarantine)
}

#[test]
fn what_cannot_be_read_holds_its_own_aggregate_and_no_other() {
    let log = [event(1, 1, "ada"), event(2, 2, "bob"), unreadable(3, 1), event(4, 1, "eve"), event(5, 2, "bea")];
    let (named, quarantine) = names::<Users>(&log);
    assert_eq!(named, [("ada".to_owned(), 1), ("bea".to_owned(), 5)]);
    let held: Vec<_> = quarantine.entries().collect();
    assert_eq!(held, [&Unreadable::new(subject(1), 3, "unknown type")]);
}

#[test]
fn a_fold_that_panics_holds_its_aggregate_with_the_document_as_it_was() {
    let log = [event(1, 1, "ada"), event(2, 1, "bomb"), event(3, 1, "eve"), event(4, 2, "bob")];
    let (named, quarantine) = names::<Touchy>(&log);
    assert_eq!(named, [("ada".to_owned(), 1), ("bob".to_owned(), 4)]);
    assert_eq!(quarantine.get(&subject(1)).map(|held| held.sequence), Some(2));
    assert_eq!(quarantine.len(), 1);
}

#[test]
fn an_aggregate_is_held_from_its_first_bad_event_on_and_not_before() {
    let mut quarantine = Quarantine::default();
    let aggregate = AggregateId::Account(UserId::from_uuid(uuid(1)));
    for sequence in [7, 9, 5, 6] {
        quarantine.add(Unreadable::new(subject(1), sequence, "")).unwrap();
    }
    assert_eq!(quarantine.get(&subject(1)).map(|held| held.sequence), Some(5));
    assert!(!quarantine.covers(&aggregate, 4) && quarantine.covers(&aggregate, 5) && quarantine.covers(&aggregate, 8));
    assert!(!quarantine.covers(&AggregateId::Account(UserId::from_uuid(uuid(2))), 8));
}

#[test]
fn there_is_a_most_and_what_is_held_already_stays_possible() {
    let mut quarantine = Quarantine::default();
    for n in 0..MAX_QUARANTINED as u64 {
        quarantine.add(Unreadable::new(subject(n), n + 1, "")).unwrap();
    }
    let mut folded = Folded::<Users>::default();
    assert_eq!(quarantine.fold(&mut folded, &unreadable(90_000, MAX_QUARANTINED as u64)), Err(QuarantineFull));
    assert_eq!(quarantine.fold(&mut folded, &unreadable(90_001, 5)), Ok(vec![]));
    assert_eq!(quarantine.len(), MAX_QUARANTINED);
}

#[test]
fn its_stored_form_round_trips_and_an_absent_one_is_empty() {
    let before = Quarantine { changes: 4, ..Quarantine::default() };
    let mut quarantine = before.clone();
    quarantine.add(Unreadable::new(subject(1), 7, &"x".repeat(1000))).unwrap();
    let quarantine = quarantine.replacing(&before);
    assert_eq!(quarantine.clone().replacing(&quarantine), quarantine);
    let stored = serde_json::to_value(&quarantine).unwrap();
    let expected = json!({
        "changes": 5, "quarantined": [{ "subject": subject(1), "sequence": 7, "why": "x".repeat(MAX_REASON_CHARS) }],
    });
    assert_eq!(stored, expected);
    assert_eq!(serde_json::from_value::<Quarantine>(stored).unwrap(), quarantine);
    assert_eq!(serde_json::to_value(Quarantine::default()).unwrap(), json!({}));
    assert_eq!(serde_json::from_value::<Quarantine>(json!({})).unwrap(), Quarantine::default());
}

proptest! {
    /// Whatever can't be read, the others' documents are those of a log without the held aggregates, and a held one's
    /// are those of the log before its first bad event.
    #[test]
    fn nobody_else_is_touched(log in proptest::collection::vec((0..4_u64, any::<bool>()), 0..40)) {
        let entries: Vec<LogEntry> = (1..).zip(&log).map(|(sequence, (n, bad))| {
            if *bad { unreadable(sequence, *n) } else { event(sequence, *n, &format!("ada-{sequence}")) }
        }).collect();
        let (named, quarantine) = names::<Users>(&entries);
        let first_bad = |n: u64| (1..).zip(&log).find(|(_, (m, bad))| *m == n && *bad).map(|(sequence, _)| sequence);
        let mut expected = Folded::<Users>::default();
        for (sequence, (n, bad)) in (1..).zip(&log) {
            if !bad && first_bad(*n).is_none_or(|first| sequence < first) {
                expected.fold(&account(sequence, *n, created(&format!("ada-{sequence}"))));
            }
        }
        let expected: Vec<_> = expected
            .documents()
            .map(|user| (user.username.as_ref().unwrap().as_str().to_owned(), user.seq))
            .collect();
        prop_assert_eq!(named, expected);
        for n in 0..4 {
            prop_assert_eq!(quarantine.get(&subject(n)).map(|held| held.sequence), first_bad(n));
        }
    }
}
