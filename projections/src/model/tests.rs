//! Properties of every fold: batches and repetitions change nothing.

use std::collections::BTreeMap;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::wire::Phase;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::backends::Backends;
use crate::instances::Instances;
use crate::sessions::Sessions;
use crate::testing::events::{
    account, backend, closed, connected, created, delete, deleted, enrolled, erased, failed, lost, observed, placed,
    recorded, released, requested, resume, revoked, session, started, stop, tenancy,
};
use crate::users::Users;

/// An event of a few aggregates, also an impossible one: a fold is total.
fn event(sequence: u64, what: u8, id: u64, n: u32) -> RecordedEvent {
    let (owner, machine) = (id % 3, 100 + u64::from(n % 3));
    let phase = if n.is_multiple_of(2) { Phase::Running } else { Phase::Stopped };
    match what {
        0 => account(sequence, id, created("ada")),
        1 => backend(sequence, id, enrolled("lab")),
        2 | 3 => backend(sequence, id, connected(if n.is_multiple_of(2) { "10.0.0.1" } else { "10.0.0.2" })),
        4 => backend(sequence, id, lost()),
        5 => session(sequence, owner, started(id)),
        6 => session(sequence, owner, revoked(id)),
        7 => tenancy(sequence, owner, requested(id, "web", machine)),
        8 => tenancy(sequence, owner, placed(id, n, machine, 100)),
        9..=11 => tenancy(sequence, owner, observed(id, n, n, phase)),
        12 => tenancy(sequence, owner, stop(id, n)),
        13 => tenancy(sequence, owner, resume(id, n)),
        14 => tenancy(sequence, owner, delete(id, n)),
        15 => tenancy(sequence, owner, failed(id, n, machine)),
        16 => tenancy(sequence, owner, deleted(id, n, machine)),
        17 => tenancy(sequence, owner, released(id, machine, n)),
        18 => account(sequence, id, erased()),
        _ => session(sequence, owner, closed(&[id, id + 1])),
    }
}

fn events() -> impl Strategy<Value = Vec<RecordedEvent>> {
    proptest::collection::vec((0_u8..20, 0_u64..5, 1_u32..4, 1_u64..4), 0..60).prop_map(|drawn| {
        let mut sequence = 0;
        drawn
            .into_iter()
            .map(|(what, id, n, gap)| {
                // Other kinds' events leave gaps in what one model sees.
                sequence += gap;
                event(sequence, what, id, n)
            })
            .collect()
    })
}

fn forms<M: ReadModel>(folded: &Folded<M>) -> BTreeMap<String, Value> {
    folded.documents().map(|d| (d.id().to_string(), serde_json::to_value(d).unwrap())).collect()
}

fn all_at_once<M: ReadModel>(events: &[RecordedEvent]) -> BTreeMap<String, Value> {
    let mut folded = Folded::<M>::default();
    for event in events {
        folded.fold(event);
    }
    forms(&folded)
}

/// As a projector folds: each batch starts from the stored documents, some batches repeat earlier events.
fn in_batches<M: ReadModel>(events: &[RecordedEvent], cuts: &[(usize, usize)]) -> BTreeMap<String, Value> {
    let mut stored = BTreeMap::<String, Value>::new();
    let mut begin = 0;
    for (length, again) in cuts.iter().copied().chain([(events.len(), 0)]) {
        let end = (begin + length).min(events.len());
        let batch = &events[begin.saturating_sub(again)..end];
        let documents = stored.values().map(|stored| serde_json::from_value(stored.clone()).unwrap());
        let mut folded = Folded::<M>::from_documents(documents);
        for event in batch {
            folded.fold(event);
        }
        for document in folded.take_changed() {
            let form = serde_json::to_value(document).unwrap();
            stored.insert(document.id().to_string(), form);
        }
        begin = end;
    }
    stored
}

fn check<M: ReadModel>(events: &[RecordedEvent], cuts: &[(usize, usize)]) {
    assert_eq!(in_batches::<M>(events, cuts), all_at_once::<M>(events), "{}", M::NAME);
    let mut folded = Folded::<M>::default();
    for event in events {
        let before = folded.len();
        folded.fold(event);
        assert!(folded.len() >= before, "{}: a fold removed a document", M::NAME);
        assert_eq!(M::KIND == event.envelope.aggregate.kind(), !M::keys(&event.envelope).is_empty(), "{}", M::NAME);
    }
    for document in folded.documents() {
        let last = events.iter().rfind(|e| M::keys(&e.envelope).contains(&document.id())).unwrap();
        assert_eq!(document.seq(), last.sequence, "{}: the document lacks its last event", M::NAME);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn fold_in_batches_with_repetitions_yields_the_same_documents(
        events in events(),
        cuts in proptest::collection::vec((0_usize..12, 0_usize..8), 0..12),
    ) {
        check::<Users>(&events, &cuts);
        check::<Backends>(&events, &cuts);
        check::<Sessions>(&events, &cuts);
        check::<Instances>(&events, &cuts);
    }
}

#[test]
fn fold_ignores_events_of_other_kinds_and_of_unknown_documents() {
    let mut folded = Folded::<Backends>::default();
    assert!(folded.fold(&account(1, 7, created("ada"))).is_empty());
    assert!(folded.fold(&backend(2, 7, lost())).is_empty());
    assert!(folded.is_empty());
    let foreign = recorded(3, account(3, 7, created("ada")).envelope.aggregate, started(9));
    assert!(Folded::<Users>::default().fold(&foreign).is_empty());
}
