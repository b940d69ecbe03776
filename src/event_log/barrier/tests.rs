use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::join_all;
use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn rounds_barrier_in_flight_serves_only_who_asked_before_it_began() {
    let mut rounds = Rounds::default();
    assert_eq!(rounds.step(ms(10), ms(10), ms(11)), Step::Begin);
    assert_eq!(rounds.step(ms(9), ms(9), ms(12)), Step::Wait, "asked before it began");
    assert_eq!(rounds.step(ms(13), ms(13), ms(13)), Step::Wait, "asked later");
    rounds.end(ms(11), Ok(7));
    assert_eq!(rounds.step(ms(9), ms(9), ms(14)), Step::Proven(7));
    assert_eq!(rounds.step(ms(13), ms(13), ms(14)), Step::Begin, "the next one serves it");
}

#[test]
fn rounds_append_that_began_later_is_a_proof() {
    let mut rounds = Rounds::default();
    rounds.record(ms(20), 5);
    rounds.record(ms(10), 9);
    assert_eq!(rounds.step(ms(20), ms(20), ms(21)), Step::Proven(5), "the one that began last");
    assert_eq!(rounds.step(ms(21), ms(21), ms(21)), Step::Begin);
    assert_eq!(rounds.step(ms(5), ms(30), ms(30)), Step::Proven(5), "a bounded age");
}

#[test]
fn rounds_failure_is_shared_by_who_asked_before_it_began() {
    let mut rounds = Rounds::default();
    let failure = Failure { why: "no quorum".to_owned(), is_final: false };
    assert_eq!(rounds.step(ms(10), ms(10), ms(11)), Step::Begin);
    rounds.end(ms(11), Err(failure.clone()));
    assert_eq!(rounds.step(ms(10), ms(10), ms(12)), Step::Failed(failure));
    assert_eq!(rounds.step(ms(12), ms(12), ms(12)), Step::Begin, "asked after it began");
}

#[test]
fn rounds_many_barriers_are_paced() {
    let mut rounds = Rounds::default();
    let mut begun = 0;
    for now in (0..60_000).map(ms) {
        if rounds.step(now, now, now) == Step::Begin {
            begun += 1;
            rounds.end(now, Ok(begun));
        }
    }
    assert!((1200..=1300).contains(&begun), "{begun} in a minute");
}

/// What may happen to the rounds, one after another.
#[derive(Debug, Clone)]
enum Happening {
    Ask { age: u64 },
    Append { took: u64 },
    End { stored: bool },
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0_u64..40).prop_map(|age| Happening::Ask { age: age.saturating_sub(20) }),
        1 => (0_u64..9).prop_map(|took| Happening::Append { took }),
        3 => any::<bool>().prop_map(|stored| Happening::End { stored }),
    ];
    prop::collection::vec(one, 1..200)
}

proptest! {
    /// Whatever happens, a question is answered with a sequence only if everything that other replicas had appended by
    /// the earliest moment that counts is before it; and at most one barrier is in flight.
    #[test]
    fn rounds_any_history_answers_with_a_publish_that_began_late_enough(history in happenings()) {
        let mut rounds = Rounds::default();
        // The log's end at each millisecond: other replicas append all the time.
        let end_at = |millis: u64| millis * 3;
        let mut in_flight: Option<u64> = None;
        for (now, happening) in (100..).step_by(7).zip(history) {
            match happening {
                Happening::Ask { age } => match rounds.step(ms(now - age), ms(now), ms(now)) {
                    Step::Proven(sequence) => prop_assert!(sequence > end_at(now - age)),
                    Step::Begin => prop_assert!(in_flight.replace(now).is_none(), "two in flight"),
                    Step::Wait => prop_assert!(in_flight.is_some(), "it waits for nothing"),
                    Step::Failed(_) | Step::Pause(_) => {}
                },
                Happening::Append { took } => rounds.record(ms(now - took), end_at(now - took) + 1),
                Happening::End { stored } => if let Some(began) = in_flight.take() {
                    let failure = Failure { why: String::new(), is_final: false };
                    rounds.end(ms(began), if stored { Ok(end_at(began) + 1) } else { Err(failure) });
                },
            }
        }
    }
}

/// A log that answers barriers as scripted, and counts them.
#[derive(Default)]
struct Scripted {
    published: AtomicU64,
    script: Mutex<VecDeque<Result<(), Failure>>>,
}

impl Scripted {
    fn attempt(self: &Arc<Self>) -> Attempt {
        let this = Arc::clone(self);
        async move {
            let sequence = this.published.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(ms(5)).await;
            let next = this.script.lock().unwrap().pop_front().unwrap_or(Ok(()));
            next.map(|()| sequence)
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn prove_many_at_once_share_two_barriers() {
    let (log, barriers) = (Arc::new(Scripted::default()), Arc::new(Barriers::default()));
    let first = tokio::spawn({
        let (log, barriers) = (Arc::clone(&log), Arc::clone(&barriers));
        async move { barriers.prove(Freshness::now(), || log.attempt()).await.unwrap() }
    });
    tokio::time::sleep(ms(1)).await;
    let later = (0..64).map(|_| barriers.prove(Freshness::now(), || log.attempt()));
    let later = join_all(later).await;
    assert_eq!(first.await.unwrap(), 1);
    assert!(later.iter().all(|proof| *proof.as_ref().unwrap() == 2), "{later:?}");
    let bounded = barriers.prove(Freshness::Within(ms(100)), || log.attempt()).await.unwrap();
    assert_eq!((bounded, log.published.load(Ordering::SeqCst)), (2, 2), "no barrier for a bounded age");
}

#[tokio::test(start_paused = true)]
async fn prove_tries_again_until_the_time_is_over() {
    let (log, barriers) = (Arc::new(Scripted::default()), Arc::new(Barriers::default()));
    let failure = |is_final| Failure { why: "no quorum".to_owned(), is_final };
    log.script.lock().unwrap().extend([Err(failure(false)), Err(failure(false))]);
    assert_eq!(barriers.prove(Freshness::now(), || log.attempt()).await.unwrap(), 3);

    log.script.lock().unwrap().push_back(Err(failure(true)));
    let before = Instant::now();
    assert!(barriers.prove(Freshness::now(), || log.attempt()).await.is_err());
    assert!(before.elapsed() < RETRY_PAUSE, "a final failure is not tried again");

    let before = Instant::now();
    let silent = || futures::future::pending().boxed();
    assert!(barriers.prove(Freshness::now(), silent).await.is_err());
    assert_eq!(before.elapsed(), PROOF_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn prove_caller_gives_up_the_barrier_still_serves_others() {
    let (log, barriers) = (Arc::new(Scripted::default()), Arc::new(Barriers::default()));
    let gone = tokio::time::timeout(ms(1), barriers.prove(Freshness::now(), || log.attempt())).await;
    assert!(gone.is_err());
    assert_eq!(barriers.prove(Freshness::Within(ms(100)), || log.attempt()).await.unwrap(), 1);
    assert_eq!(log.published.load(Ordering::SeqCst), 1);
}
