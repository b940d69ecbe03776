//! Every stored event met its expectation, on one node and on three. The check detects violations: on three nodes the
//! broker itself breaks expectations about a wildcard if literal ones are mixed with them.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::RawMessageErrorKind;
use dockhost::broker::streams::EVENTS;
use dockhost::common::clock;
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost_domain::envelope::header;
use dockhost_domain::ids::UserId;
use futures::future::join_all;
use tokio::time::{Duration, Instant};

use super::world::{at, master, options, sign_in, user};
use crate::harness::Nats;
use crate::harness::log::{EXPECTED_SUBJECT, Stored, broken_expectations, duplicates, stored};

/// The subjects of all writers.
const WILDCARD: &str = "dockhost.event.session.>";
const WRITERS: usize = 6;
/// Per writer and round.
const ATTEMPTS_PER_ROUND: usize = 40;
/// The planted fault shows in the first rounds.
const MAX_SEARCH: Duration = Duration::from_secs(60);

/// A writer like the server: literal expectations, through the adapter.
async fn write(log: &JetStreamLog, subjects: &[UserId]) -> usize {
    let mut stored = 0;
    for attempt in 0..ATTEMPTS_PER_ROUND {
        let event = sign_in(subjects[attempt % subjects.len()]);
        let last = log.last_sequence(event.aggregate).await.unwrap();
        match log.append(at(last, &event)).await {
            Ok(_) => stored += 1,
            Err(error) if error.is_conflict() => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    stored
}

/// The planted fault: a writer with an expectation about all subjects.
async fn write_with_wildcard(js: &Context, subjects: &[UserId]) {
    let stream = js.get_stream(EVENTS).await.unwrap();
    for attempt in 0..ATTEMPTS_PER_ROUND {
        let last = match stream.get_last_raw_message_by_subject(WILDCARD).await {
            Ok(message) => message.sequence,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => 0,
            Err(other) => panic!("{other:?}"),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        headers.insert(EXPECTED_SUBJECT, WILDCARD);
        headers.insert(header::ID, clock::fresh_uuid().to_string());
        let subject = sign_in(subjects[attempt % subjects.len()]).aggregate.to_string();
        // The outcome does not matter; the log is checked.
        drop(js.publish_with_headers(subject, headers, "{}".into()).await.unwrap().await);
    }
}

async fn logs(nats: &Nats) -> Vec<JetStreamLog> {
    let open = async |_| JetStreamLog::open(nats.main().await.client().clone(), master(1), options()).await.unwrap();
    join_all((0..3).map(open)).await
}

async fn check_writers(nats: &Nats) {
    let logs = logs(nats).await;
    let subjects = [user(), user()];
    let counts = join_all((0..WRITERS).map(|n| write(&logs[n % 3], &subjects))).await;
    let log = stored(nats).await;
    assert_eq!(log.len(), counts.iter().sum::<usize>());
    assert!(log.len() < WRITERS * ATTEMPTS_PER_ROUND, "there was no conflict");
    assert!(log.iter().all(|event| event.guard == event.subject && event.expected.is_some()), "{log:#?}");
    assert_eq!((broken_expectations(&log), duplicates(&log)), (vec![], vec![]));
}

#[tokio::test]
async fn append_on_one_node_meets_every_expectation() {
    check_writers(&Nats::start().await).await;
}

#[tokio::test]
async fn append_on_three_nodes_meets_every_expectation() {
    check_writers(&Nats::cluster().await).await;
}

#[tokio::test]
async fn check_on_three_nodes_detects_a_broken_wildcard_expectation() {
    let nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    let js = nats.main().await.jetstream().clone();
    let subjects = [user(), user()];
    let started = Instant::now();
    loop {
        tokio::join!(
            join_all((0..WRITERS).map(|n| write(&logs[n % 3], &subjects))),
            join_all((0..WRITERS).map(|_| write_with_wildcard(&js, &subjects))),
        );
        let log = stored(&nats).await;
        let broken = broken_expectations(&log);
        if !broken.is_empty() {
            assert!(broken.iter().all(|one| one.contains(WILDCARD)), "a literal expectation was broken: {broken:#?}");
            break;
        }
        assert!(started.elapsed() < MAX_SEARCH, "no violation in {} events", log.len());
    }
}

#[test]
fn check_reports_broken_expectations_and_duplicates_only() {
    let event = |sequence, subject: &str, expected, guard: &str| Stored {
        trace_parent: None,
        kind: String::new(),
        body: String::new(),
        sequence,
        subject: subject.to_owned(),
        id: Some(sequence.to_string()),
        expected: Some(expected),
        guard: guard.to_owned(),
    };
    let mut log =
        vec![event(1, "a.b", 0, "a.b"), event(2, "a.c", 0, "a.c"), event(3, "a.b", 1, "a.b"), event(4, "x", 3, "a.>")];
    assert_eq!((broken_expectations(&log), duplicates(&log)), (vec![], vec![]));
    log[3].expected = Some(2);
    assert_eq!(broken_expectations(&log).len(), 1);
    log[2].expected = Some(2);
    assert_eq!(broken_expectations(&log).len(), 2);
    log[2].id = log[0].id.clone();
    assert_eq!(duplicates(&log), ["1"]);
}
