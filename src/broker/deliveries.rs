//! What was published for each backend and is not known to be delivered.
//!
//! A backend's consumer sits on one node of the broker. If that node's copy of the stream stays behind, as after the node
//! was replaced by an empty one, the consumer sends heartbeats and delivers nothing, or only what was replaced long ago.
//! [`super::delivery_watch`] looks at the consumers of the backends that are named here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::ids::BackendId;
use tokio::time::Instant;

/// How long a delivery may take before the consumer is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(3);
/// The shortest time between two looks at one consumer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a delivery to an agent that reads may take: longer than a consumer needs to recover from an election.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// After this long without a reader, nothing is expected of the consumer: when the agent is back, it says hello.
const MAX_ABSENCE: Duration = Duration::from_secs(60);

/// What a look at a consumer showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The last sequence that it has delivered or passed over.
    pub delivered: u64,
    /// Whether a pull request of the agent waits.
    pub has_reader: bool,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has delivered what was expected.
    Delivered,
    /// Look again later.
    Wait,
    /// Nothing is expected of it, because nobody reads.
    Absent,
    /// It does not deliver.
    Stuck,
}

/// Something to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The backend.
    pub backend: BackendId,
    /// The sequence that its consumer should have delivered; `None` for everything that was published before its agent said
    /// hello.
    pub sequence: Option<u64>,
    /// Since when.
    pub since: Instant,
}

impl Expected {
    /// Compares a look at the consumer with `sequence`, which it should have delivered.
    #[must_use]
    pub fn judge(&self, sequence: u64, sight: Sight, now: Instant) -> Verdict {
        let delay = now.saturating_duration_since(self.since);
        match sight {
            Sight { delivered, .. } if delivered >= sequence => Verdict::Delivered,
            Sight { has_reader: true, .. } if delay >= MAX_DELAY => Verdict::Stuck,
            Sight { has_reader: false, .. } if delay >= MAX_ABSENCE => Verdict::Absent,
            _ => Verdict::Wait,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    sequence: Option<u64>,
    since: Instant,
    /// The last one that was published after it.
    newest: Option<(u64, Instant)>,
    looked: Option<Instant>,
}

/// The deliveries that are awaited, the first one of each backend.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<BTreeMap<BackendId, Waiting>>);

impl Deliveries {
    /// Expects the delivery of an assignment that was stored now.
    pub fn published(&self, backend: BackendId, sequence: u64) {
        let now = Instant::now();
        let first = Waiting { sequence: Some(sequence), since: now, newest: None, looked: None };
        self.waiting().entry(backend).and_modify(|waiting| waiting.newest = Some((sequence, now))).or_insert(first);
    }

    /// Expects the delivery of everything, by a consumer that was created now.
    pub fn connected(&self, backend: BackendId) {
        let all = Waiting { sequence: None, since: Instant::now(), newest: None, looked: None };
        self.waiting().insert(backend, all);
    }

    /// Those that have been awaited for long, the longest first, at most `max`; each is looked at now.
    #[must_use]
    pub fn due(&self, now: Instant, max: usize) -> Vec<Expected> {
        let mut waiting = self.waiting();
        let is_due = |waiting: &Waiting| {
            now.saturating_duration_since(waiting.since) >= LOOK_AFTER
                && waiting.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_INTERVAL)
        };
        let mut due: Vec<_> = waiting.iter_mut().filter(|(_, waiting)| is_due(waiting)).collect();
        due.sort_by_key(|(_, waiting)| waiting.since);
        let look = |(backend, waiting): (&BackendId, &mut Waiting)| {
            waiting.looked = Some(now);
            Expected { backend: *backend, sequence: waiting.sequence, since: waiting.since }
        };
        due.into_iter().take(max).map(look).collect()
    }

    /// Names the sequence that was the last one when the agent had said hello.
    pub fn resolved(&self, expected: &Expected, sequence: u64) {
        let mut waiting = self.waiting();
        if let Some(found) = waiting.get_mut(&expected.backend).filter(|found| found.since == expected.since) {
            found.sequence = Some(sequence);
        }
    }

    /// Everything up to `sequence` was delivered; what was published later is awaited from now on.
    pub fn delivered(&self, expected: &Expected, sequence: u64) {
        let mut waiting = self.waiting();
        // A hello since the look begins anew.
        let Some(found) = waiting.get_mut(&expected.backend).filter(|found| found.since == expected.since) else {
            return;
        };
        match found.newest.take().filter(|(newest, _)| *newest > sequence) {
            Some((newest, published)) => (found.sequence, found.since) = (Some(newest), published),
            None => drop(waiting.remove(&expected.backend)),
        }
    }

    /// Awaits nothing more that was published before the look.
    pub fn forget(&self, expected: &Expected) {
        let mut waiting = self.waiting();
        if waiting.get(&expected.backend).is_some_and(|found| found.since == expected.since) {
            waiting.remove(&expected.backend);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<BackendId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;

    fn backend(number: u128) -> BackendId {
        BackendId::from_uuid(Uuid::from_u128(number))
    }

    fn due(deliveries: &Deliveries) -> Vec<(BackendId, Option<u64>)> {
        deliveries.due(Instant::now(), 2).into_iter().map(|due| (due.backend, due.sequence)).collect()
    }

    async fn seconds(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn due_deliveries_that_take_long_are_looked_at_the_longest_first() {
        let deliveries = Deliveries::default();
        for number in [3, 2, 1] {
            deliveries.published(backend(number), 7);
            seconds(1).await;
        }
        deliveries.published(backend(3), 8);
        assert_eq!(due(&deliveries), [(backend(3), Some(7))]);
        assert_eq!(due(&deliveries), [], "it has just been looked at");
        seconds(5).await;
        assert_eq!(due(&deliveries), [(backend(3), Some(7)), (backend(2), Some(7))], "at most two");
    }

    #[tokio::test(start_paused = true)]
    async fn delivered_later_ones_are_awaited_since_they_were_published() {
        let deliveries = Deliveries::default();
        deliveries.published(backend(1), 7);
        seconds(2).await;
        deliveries.published(backend(1), 8);
        seconds(1).await;
        let look = |deliveries: &Deliveries| deliveries.due(Instant::now(), 1).pop();
        let first = look(&deliveries).unwrap();
        deliveries.delivered(&first, 7);
        assert_eq!(look(&deliveries), None, "the other one was published a second ago");
        seconds(2).await;
        let second = look(&deliveries).unwrap();
        assert_eq!(second.sequence, Some(8));
        deliveries.delivered(&first, 9);
        assert!(deliveries.waiting().contains_key(&backend(1)), "the answer to an earlier question");
        deliveries.delivered(&second, 9);
        assert!(deliveries.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn connected_agent_is_expected_to_receive_everything_anew() {
        let deliveries = Deliveries::default();
        deliveries.published(backend(1), 7);
        seconds(4).await;
        let before = deliveries.due(Instant::now(), 1).pop().unwrap();
        deliveries.connected(backend(1));
        deliveries.forget(&before);
        seconds(3).await;
        let all = deliveries.due(Instant::now(), 1).pop().unwrap();
        assert_eq!(all.sequence, None);
        deliveries.resolved(&all, 9);
        seconds(1).await;
        assert_eq!(due(&deliveries), [(backend(1), Some(9))]);
    }

    #[tokio::test(start_paused = true)]
    async fn judge_reader_that_gets_nothing_is_stuck_and_a_silent_one_is_absent() {
        let expected = Expected { backend: backend(1), sequence: Some(7), since: Instant::now() };
        let judge = |delivered, has_reader, seconds| {
            expected.judge(7, Sight { delivered, has_reader }, expected.since + Duration::from_secs(seconds))
        };
        assert_eq!(judge(6, true, 4), Verdict::Wait);
        assert_eq!(judge(6, true, 5), Verdict::Stuck);
        assert_eq!(judge(7, true, 5), Verdict::Delivered);
        assert_eq!((judge(6, false, 59), judge(6, false, 60)), (Verdict::Wait, Verdict::Absent));
    }
}
