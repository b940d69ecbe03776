//! Scripted jobs instead of real ones; acknowledgements are recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

/// An owner and a key.
type Lane = (u8, u8);
/// The numbers of the messages that a job merges.
type Work = (Lane, Vec<usize>);

/// What happened, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Started(Lane, Vec<usize>),
    Done(Lane, Vec<usize>),
    Confirmed(usize),
    Retried(usize),
}

#[derive(Debug, Clone, Default)]
struct Steps(Arc<Mutex<Vec<Step>>>);

impl Steps {
    fn push(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }

    fn all(&self) -> Vec<Step> {
        self.0.lock().unwrap().clone()
    }
}

struct FakeAck(usize, Steps);

impl Acknowledge for FakeAck {
    async fn confirm(self) -> Result<(), Cause> {
        self.1.push(Step::Confirmed(self.0));
        Ok(())
    }

    async fn retry_after(self, _: Duration) -> Result<(), Cause> {
        self.1.push(Step::Retried(self.0));
        Ok(())
    }
}

/// Messages with their lanes, in batches, numbered from 0; after the last batch nothing comes.
fn batches(
    lanes: &[Vec<Option<Lane>>],
    steps: &Steps,
) -> impl Stream<Item = Result<Vec<Received<u8, u8, Work, FakeAck>>, Infallible>> + use<> {
    let (mut numbers, steps) = (0.., steps.clone());
    let mut received = |lane: &Option<Lane>| {
        let number = numbers.next().unwrap();
        let job = lane.map(|lane| (lane, (lane, vec![number])));
        Received { job, ack: FakeAck(number, steps.clone()) }
    };
    let batches: Vec<_> = lanes.iter().map(|batch| Ok(batch.iter().map(&mut received).collect())).collect();
    futures::stream::iter(batches).chain(futures::stream::pending())
}

/// Runs jobs until nothing more happens; `slow` ones wait for a permit of their semaphore, `failing` ones fail.
struct Script {
    slow: BTreeMap<Lane, Arc<Semaphore>>,
    failing: BTreeSet<Lane>,
    steps: Steps,
}

impl Script {
    fn new(slow: impl IntoIterator<Item = Lane>, failing: impl IntoIterator<Item = Lane>) -> Self {
        let slow = slow.into_iter().map(|lane| (lane, Arc::new(Semaphore::new(0)))).collect();
        Self { slow, failing: failing.into_iter().collect(), steps: Steps::default() }
    }

    async fn handle(&self, (lane, messages): Work) -> Result<(), Cause> {
        self.steps.push(Step::Started(lane, messages.clone()));
        match self.slow.get(&lane) {
            Some(slow) => slow.acquire().await?.forget(),
            None => tokio::task::yield_now().await,
        }
        self.steps.push(Step::Done(lane, messages));
        if self.failing.contains(&lane) { Err("expected by this test".into()) } else { Ok(()) }
    }

    /// What has happened once only slow jobs are left, and then, when those may go on, in all.
    async fn run(&self, lanes: &[Vec<Option<Lane>>]) -> (Vec<Step>, Vec<Step>) {
        let cancel = CancellationToken::new();
        let merge = |(_, messages): &mut Work, (_, newer): Work| messages.extend(newer);
        let running = run("test", batches(lanes, &self.steps), &cancel, merge, |work| self.handle(work));
        let observing = async {
            let while_slow = self.settled().await;
            self.slow.values().for_each(|slow| slow.add_permits(Semaphore::MAX_PERMITS >> 4));
            let in_all = self.settled().await;
            cancel.cancel();
            (while_slow, in_all)
        };
        let (Ok(()), steps) = tokio::join!(running, observing);
        steps
    }

    /// The steps once no more are added. Nothing here waits for time, so a paused clock advances when all is idle.
    async fn settled(&self) -> Vec<Step> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.steps.all()
    }
}

fn done(steps: &[Step]) -> BTreeSet<usize> {
    steps.iter().flat_map(|step| if let Step::Done(_, messages) = step { messages.clone() } else { vec![] }).collect()
}

/// With a barrier per batch, the second batch would wait for the slow job of the first.
#[tokio::test(start_paused = true)]
async fn run_slow_job_delays_only_its_own_lane() {
    let (slow, other) = ((1, 1), (2, 1));
    let script = Script::new([slow], []);
    let lanes =
        [vec![Some(slow), Some(other)], vec![Some(other)], vec![Some(slow), Some((1, 2)), None], vec![Some(slow)]];
    let (while_slow, in_all) = script.run(&lanes).await;
    assert_eq!(done(&while_slow), BTreeSet::from([1, 2, 4]), "{while_slow:?}");
    assert!(!while_slow.contains(&Step::Confirmed(0)), "the slow job's message is not acknowledged");
    assert!(while_slow.contains(&Step::Confirmed(5)), "a message without a job is");
    assert_eq!(done(&in_all), BTreeSet::from([0, 1, 2, 3, 4, 6]));
    assert!(in_all.contains(&Step::Started(slow, vec![3, 6])), "jobs that waited are merged: {in_all:?}");
}

#[tokio::test(start_paused = true)]
async fn run_slow_jobs_of_one_owner_leave_slots_to_others() {
    let slow: Vec<Lane> = (0..100).map(|key| (1, key)).collect();
    let script = Script::new(slow.clone(), []);
    let lanes = [slow.into_iter().map(Some).collect(), vec![Some((2, 1))]];
    let (while_slow, in_all) = script.run(&lanes).await;
    assert_eq!(done(&while_slow), BTreeSet::from([100]));
    assert_eq!(done(&in_all).len(), 101);
}

#[tokio::test(start_paused = true)]
async fn run_job_that_panics_is_skipped_and_others_complete() {
    let (cancel, steps) = (CancellationToken::new(), Steps::default());
    let lanes = vec![(0..40).map(|key| Some((key, 0))).collect()];
    let handle = |((owner, _), _): Work| async move {
        assert!(owner % 3 > 0, "expected by this test");
        Ok(())
    };
    let running = run("test", batches(&lanes, &steps), &cancel, |_, _| {}, handle);
    let ending = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    };
    let (Ok(()), ()) = tokio::join!(running, ending);
    let confirmed = steps.all().into_iter().filter(|step| matches!(step, Step::Confirmed(_))).count();
    assert_eq!(confirmed, 40);
}

/// The end of a term: what runs is completed, what waits is left to the successor.
#[tokio::test(start_paused = true)]
async fn run_cancelled_completes_what_runs_and_starts_nothing_more() {
    let slow = (1, 1);
    let (script, cancel) = (Script::new([slow], []), CancellationToken::new());
    let lanes = [vec![Some(slow)], vec![Some(slow)]];
    let running = run("test", batches(&lanes, &script.steps), &cancel, |_, _| {}, |work| script.handle(work));
    let ending = async {
        script.settled().await;
        cancel.cancel();
        script.settled().await;
        script.slow[&slow].add_permits(9);
    };
    let (Ok(()), ()) = tokio::join!(running, ending);
    let job = vec![0];
    assert_eq!(script.steps.all(), [Step::Started(slow, job.clone()), Step::Done(slow, job), Step::Confirmed(0)]);
}

fn lane() -> impl Strategy<Value = Lane> {
    (0_u8..4, 0_u8..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn run_any_batches_keeps_the_order_of_lanes_and_acknowledges_only_what_is_done(
        lanes in proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.9, lane()), 0..12), 0..12),
        slow in proptest::collection::btree_set(lane(), 0..4),
        failing in proptest::collection::btree_set(lane(), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let script = Script::new(slow.clone(), failing.clone());
        let (while_slow, in_all) = runtime.block_on(script.run(&lanes));
        let of: Vec<Option<Lane>> = lanes.concat();
        // Fewer slow lanes than slots of an owner: all other lanes went on beside them.
        let expected = |count: &dyn Fn(&Lane) -> bool| -> BTreeSet<usize> {
            (0..of.len()).filter(|n| of[*n].as_ref().is_some_and(count)).collect()
        };
        prop_assert!(done(&while_slow).is_superset(&expected(&|lane| !slow.contains(lane))));
        prop_assert_eq!(done(&in_all), expected(&|_| true));
        let (mut running, mut finished, mut last) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for step in &in_all {
            match step {
                Step::Started(lane, messages) => {
                    prop_assert!(running.insert(*lane), "two jobs of one lane at once");
                    for message in messages {
                        prop_assert!(last.insert(*lane, *message).is_none_or(|last| last < *message), "out of order");
                    }
                }
                Step::Done(lane, messages) => {
                    running.remove(lane);
                    finished.extend(messages.iter().copied());
                }
                Step::Confirmed(message) => {
                    let fails = of[*message].is_some_and(|lane| failing.contains(&lane));
                    prop_assert!(of[*message].is_none() || finished.contains(message) && !fails);
                }
                Step::Retried(message) => {
                    prop_assert!(finished.contains(message) && failing.contains(&of[*message].unwrap()));
                }
            }
        }
        let settled = in_all.iter().filter(|step| matches!(step, Step::Confirmed(_) | Step::Retried(_))).count();
        prop_assert_eq!(settled, of.len(), "each message once");
    }
}
