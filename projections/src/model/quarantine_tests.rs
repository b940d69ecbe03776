//! What an event that can't be folded does to its aggregate and to the others.

use std::sync::Arc;

use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::subject::AggregateId;
use proptest::prelude::*;

use super::*;
use crate::store::{MAX_QUARANTINED, View};
use crate::testing::events::{account, created, uuid};
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

/// A model whose fold panics on a user named `bomb`.
struct PanickingModel;

impl StoredModel for PanickingModel {
    const NAME: &'static str = "panicking";
    const FOLD_VERSION: u32 = 1;
    const INDEXES: &'static [&'static [&'static str]] = &[];
    type Document = UserDocument;

    fn view() -> View {
        Users::view()
    }
}

impl ReadModel for PanickingModel {
    const KIND: &'static str = "account";

    fn keys(event: &Envelope) -> Vec<UserId> {
        Users::keys(event)
    }

    fn fold(id: UserId, document: Option<UserDocument>, recorded: &RecordedEvent) -> Option<UserDocument> {
        let after = Users::fold(id, document, recorded);
        let name = after.as_ref().and_then(|user| user.username.as_ref()).map(Username::as_str);
        assert_ne!(name, Some("bomb"), "intended by a test");
        after
    }
}

fn fold<M: ReadModel<Document = UserDocument>>(entries: &[LogEntry]) -> (Vec<(String, u64)>, Quarantine) {
    let (mut folded, mut quarantine) = (Folded::<M>::default(), Quarantine::default());
    for entry in entries {
        folded.fold_entry(entry, &mut quarantine).unwrap();
    }
    (names(&folded), quarantine)
}

fn names<M: ReadModel<Document = UserDocument>>(folded: &Folded<M>) -> Vec<(String, u64)> {
    folded.documents().map(|user| (user.username.as_ref().unwrap().as_str().to_owned(), user.seq)).collect()
}

#[test]
fn fold_entry_unreadable_event_quarantines_only_its_aggregate() {
    let log = [event(1, 1, "ada"), event(2, 2, "bob"), unreadable(3, 1), event(4, 1, "eve"), event(5, 2, "bea")];
    let (names, quarantine) = fold::<Users>(&log);
    assert_eq!(names, [("ada".to_owned(), 1), ("bea".to_owned(), 5)]);
    assert_eq!(quarantine.entries().collect::<Vec<_>>(), [&Unreadable::new(subject(1), 3, "unknown type")]);
}

#[test]
fn fold_entry_panicking_fold_quarantines_and_keeps_the_document() {
    let log = [event(1, 1, "ada"), event(2, 1, "bomb"), event(3, 1, "eve"), event(4, 2, "bob")];
    let (names, quarantine) = fold::<PanickingModel>(&log);
    assert_eq!(names, [("ada".to_owned(), 1), ("bob".to_owned(), 4)]);
    assert_eq!(quarantine.get(&subject(1)).map(|first| first.sequence), Some(2));
    assert_eq!(quarantine.len(), 1);
}

#[test]
fn fold_entry_full_quarantine_is_an_error_unless_the_aggregate_is_in_it() {
    let mut quarantine = Quarantine::default();
    for n in 0..MAX_QUARANTINED as u64 {
        quarantine.add(Unreadable::new(subject(n), n + 1, "")).unwrap();
    }
    let mut folded = Folded::<Users>::default();
    assert_eq!(folded.fold_entry(&unreadable(90_000, MAX_QUARANTINED as u64), &mut quarantine), Err(QuarantineFull));
    assert_eq!(folded.fold_entry(&unreadable(90_001, 5), &mut quarantine), Ok(vec![]));
    assert_eq!(quarantine.len(), MAX_QUARANTINED);
}

proptest! {
    /// The documents of other aggregates are those of a log without the quarantined ones, and those of a quarantined one
    /// are those of the log before its first unreadable event.
    #[test]
    fn fold_entry_unreadable_events_change_no_other_aggregate(
        log in proptest::collection::vec((0..4_u64, any::<bool>()), 0..40),
    ) {
        let entries: Vec<LogEntry> = (1..).zip(&log).map(|(sequence, (n, bad))| {
            if *bad { unreadable(sequence, *n) } else { event(sequence, *n, &format!("ada-{sequence}")) }
        }).collect();
        let (found, quarantine) = fold::<Users>(&entries);
        let first_bad = |n: u64| (1..).zip(&log).find(|(_, (m, bad))| *m == n && *bad).map(|(sequence, _)| sequence);
        let mut expected = Folded::<Users>::default();
        for (sequence, (n, bad)) in (1..).zip(&log) {
            if !bad && first_bad(*n).is_none_or(|first| sequence < first) {
                expected.fold(&account(sequence, *n, created(&format!("ada-{sequence}"))));
            }
        }
        prop_assert_eq!(found, names(&expected));
        for n in 0..4 {
            prop_assert_eq!(quarantine.get(&subject(n)).map(|first| first.sequence), first_bad(n));
        }
    }
}
