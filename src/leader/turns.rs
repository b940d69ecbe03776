//! Turns: who is processed next, so that nobody waits for somebody else's flood or slow aggregate.
//!
//! Work is queued in lanes, one for each backend and user. A lane is processed in order, one item at a time; lanes run side
//! by side, at most a few of one backend. Lanes get slots in the order in which they began to wait, so backends take
//! turns, and within a backend its users. A lane that waits to retry holds no slot.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::ids::{BackendId, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Items of one backend that may wait: as many as the stream REPORTS holds.
const MAX_WAITING_PER_BACKEND: usize = 1000;
/// Items processed side by side.
const MAX_CONCURRENT: usize = 16;
/// Items of one backend processed side by side.
const MAX_CONCURRENT_PER_BACKEND: usize = 4;

/// Whose work it is.
pub type Lane = (BackendId, UserId);

/// What became of a new item.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// Its lane was idle: process it now, then what [`Turns::next`] returns.
    Start(T),
    /// It waits in its lane.
    Queued,
    /// Too much of its backend waits, or nothing more is accepted.
    Full(T),
}

/// The lanes, and the slots that they share.
pub struct Turns<T> {
    lanes: Mutex<Lanes<T>>,
    slots: Arc<Semaphore>,
}

struct Lanes<T> {
    /// The active lanes with what waits in them.
    waiting: HashMap<Lane, VecDeque<T>>,
    backends: HashMap<BackendId, Backend>,
    closed: bool,
}

struct Backend {
    waiting: usize,
    active_lanes: usize,
    slots: Arc<Semaphore>,
}

/// A slot; dropping it lets the next one in.
pub struct Turn {
    _backend: Option<OwnedSemaphorePermit>,
    _any: Option<OwnedSemaphorePermit>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        let lanes = Lanes { waiting: HashMap::new(), backends: HashMap::new(), closed: false };
        Self { lanes: Mutex::new(lanes), slots: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl<T> Turns<T> {
    fn locked(&self) -> MutexGuard<'_, Lanes<T>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item to its lane.
    pub fn push(&self, lane: Lane, item: T) -> Pushed<T> {
        let lanes = &mut *self.locked();
        if lanes.closed {
            return Pushed::Full(item);
        }
        let slots = || Arc::new(Semaphore::new(MAX_CONCURRENT_PER_BACKEND));
        let backend = lanes.backends.entry(lane.0);
        let backend = backend.or_insert_with(|| Backend { waiting: 0, active_lanes: 0, slots: slots() });
        match lanes.waiting.get_mut(&lane) {
            None => {
                lanes.waiting.insert(lane, VecDeque::new());
                backend.active_lanes += 1;
                Pushed::Start(item)
            }
            Some(_) if backend.waiting >= MAX_WAITING_PER_BACKEND => Pushed::Full(item),
            Some(queue) => {
                queue.push_back(item);
                backend.waiting += 1;
                Pushed::Queued
            }
        }
    }

    /// The next item of an active lane; with `None` the lane becomes idle.
    pub fn next(&self, lane: Lane) -> Option<T> {
        let lanes = &mut *self.locked();
        let item = lanes.waiting.get_mut(&lane).and_then(VecDeque::pop_front);
        let Some(backend) = lanes.backends.get_mut(&lane.0) else { return item };
        if item.is_some() {
            backend.waiting -= 1;
        } else if lanes.waiting.remove(&lane).is_some() {
            backend.active_lanes -= 1;
            if backend.active_lanes == 0 {
                lanes.backends.remove(&lane.0);
            }
        }
        item
    }

    /// Whether an item waits in the lane.
    pub fn waits(&self, lane: Lane, is: impl Fn(&T) -> bool) -> bool {
        self.locked().waiting.get(&lane).is_some_and(|queue| queue.iter().any(is))
    }

    /// Discards what waits, and accepts nothing more.
    pub fn close(&self) {
        let lanes = &mut *self.locked();
        lanes.closed = true;
        lanes.waiting.values_mut().for_each(VecDeque::clear);
        lanes.backends.values_mut().for_each(|backend| backend.waiting = 0);
    }

    /// Waits for a slot of an active lane's backend.
    pub async fn turn(&self, backend: BackendId) -> Turn {
        let slots = self.locked().backends.get(&backend).map(|backend| Arc::clone(&backend.slots));
        // The semaphores are never closed.
        let of_backend = match slots {
            Some(slots) => slots.acquire_owned().await.ok(),
            None => None,
        };
        let any = Arc::clone(&self.slots).acquire_owned().await.ok();
        Turn { _backend: of_backend, _any: any }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn lane(backend: u128, user: u128) -> Lane {
        (BackendId::from_uuid(Uuid::from_u128(backend)), UserId::from_uuid(Uuid::from_u128(user)))
    }

    #[test]
    fn push_lane_is_processed_in_order_one_at_a_time() {
        let turns = Turns::default();
        assert_eq!(turns.push(lane(1, 1), 1), Pushed::Start(1));
        assert_eq!(turns.push(lane(1, 1), 2), Pushed::Queued);
        assert_eq!(turns.push(lane(1, 1), 3), Pushed::Queued);
        assert_eq!(turns.push(lane(1, 2), 4), Pushed::Start(4), "another user");
        assert_eq!(turns.push(lane(2, 1), 5), Pushed::Start(5), "another backend");
        assert!(turns.waits(lane(1, 1), |item| *item == 3) && !turns.waits(lane(1, 1), |item| *item == 1));
        assert_eq!((turns.next(lane(1, 1)), turns.next(lane(1, 1)), turns.next(lane(1, 1))), (Some(2), Some(3), None));
        assert_eq!(turns.push(lane(1, 1), 6), Pushed::Start(6), "the lane was idle");
    }

    #[test]
    fn push_too_much_of_one_backend_is_refused_and_others_are_not() {
        let turns = Turns::default();
        turns.push(lane(1, 1), 0);
        for item in 0..MAX_WAITING_PER_BACKEND {
            assert_eq!(turns.push(lane(1, 1), item), Pushed::Queued);
        }
        assert_eq!(turns.push(lane(1, 1), 7), Pushed::Full(7));
        assert_eq!(turns.push(lane(2, 1), 8), Pushed::Start(8));
        assert_eq!(turns.next(lane(1, 1)), Some(0));
        assert_eq!(turns.push(lane(1, 1), 9), Pushed::Queued);
    }

    #[test]
    fn close_discards_what_waits() {
        let turns = Turns::default();
        turns.push(lane(1, 1), 1);
        turns.push(lane(1, 1), 2);
        turns.close();
        assert_eq!(turns.next(lane(1, 1)), None);
        assert_eq!(turns.push(lane(1, 1), 3), Pushed::Full(3));
    }

    /// A backend with many busy users leaves slots to another one.
    #[tokio::test]
    async fn turn_busy_backend_leaves_slots_to_others() {
        let turns = Turns::default();
        for user in 0..100 {
            turns.push(lane(1, user), ());
        }
        turns.push(lane(2, 1), ());
        let mut held = Vec::new();
        while let Some(turn) = turns.turn(lane(1, 0).0).now_or_never() {
            held.push(turn);
        }
        assert_eq!(held.len(), MAX_CONCURRENT_PER_BACKEND);
        assert!(turns.turn(lane(2, 1).0).now_or_never().is_some());
        held.pop();
        assert!(turns.turn(lane(1, 0).0).now_or_never().is_some(), "a slot that is free again");
    }
}
