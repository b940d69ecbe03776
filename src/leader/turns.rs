//! Turns: who is processed next, so that nobody waits for somebody else's flood or slow aggregate.
//!
//! Work is queued in lanes. Each lane has an owner: the lanes of a report's backend are its users, those of a user are
//! their instances. A lane is processed in order, one item at a time; lanes run side by side, at most a few of one owner.
//! Lanes get slots in the order in which they began to wait, so owners take turns, and the lanes of an owner. A lane that
//! waits to retry holds no slot.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Items of one owner that may wait.
const MAX_WAITING_PER_OWNER: usize = 1000;
/// Items processed side by side.
const MAX_CONCURRENT: usize = 16;
/// Items of one owner processed side by side.
const MAX_CONCURRENT_PER_OWNER: usize = 4;

/// What became of a new item.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// Its lane was idle: process it now, then what [`Turns::next`] returns.
    Start(T),
    /// It waits in its lane.
    Queued,
    /// Too much of its owner waits, or nothing more is accepted.
    Full(T),
}

/// The lanes, by owner `O` and key `K`, and the slots that they share.
pub struct Turns<O, K, T> {
    lanes: Mutex<Lanes<O, K, T>>,
    slots: Arc<Semaphore>,
}

struct Lanes<O, K, T> {
    /// The active lanes with what waits in them.
    waiting: HashMap<(O, K), VecDeque<T>>,
    owners: HashMap<O, Owner>,
    closed: bool,
}

struct Owner {
    waiting: usize,
    active_lanes: usize,
    slots: Arc<Semaphore>,
}

/// A slot; dropping it lets the next one in.
pub struct Turn {
    _owner: Option<OwnedSemaphorePermit>,
    _any: Option<OwnedSemaphorePermit>,
}

impl<O, K, T> Default for Turns<O, K, T> {
    fn default() -> Self {
        let lanes = Lanes { waiting: HashMap::new(), owners: HashMap::new(), closed: false };
        Self { lanes: Mutex::new(lanes), slots: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl<O: Copy + Eq + Hash, K: Copy + Eq + Hash, T> Turns<O, K, T> {
    fn locked(&self) -> MutexGuard<'_, Lanes<O, K, T>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item to its lane.
    pub fn push(&self, lane: (O, K), item: T) -> Pushed<T> {
        let lanes = &mut *self.locked();
        if lanes.closed {
            return Pushed::Full(item);
        }
        let slots = || Arc::new(Semaphore::new(MAX_CONCURRENT_PER_OWNER));
        let owner = lanes.owners.entry(lane.0);
        let owner = owner.or_insert_with(|| Owner { waiting: 0, active_lanes: 0, slots: slots() });
        match lanes.waiting.get_mut(&lane) {
            None => {
                lanes.waiting.insert(lane, VecDeque::new());
                owner.active_lanes += 1;
                Pushed::Start(item)
            }
            Some(_) if owner.waiting >= MAX_WAITING_PER_OWNER => Pushed::Full(item),
            Some(queue) => {
                queue.push_back(item);
                owner.waiting += 1;
                Pushed::Queued
            }
        }
    }

    /// Adds an item to its lane, or merges it into the one that waits there.
    pub fn push_or_merge(&self, lane: (O, K), item: T, merge: impl FnOnce(&mut T, T)) -> Pushed<T> {
        if let Some(waiting) = self.locked().waiting.get_mut(&lane).and_then(VecDeque::back_mut) {
            merge(waiting, item);
            return Pushed::Queued;
        }
        self.push(lane, item)
    }

    /// Puts an item in the place of the first one that waits in its lane and that it replaces.
    ///
    /// # Errors
    /// The item, if there is none; otherwise the one that it replaced is returned.
    pub fn replace(&self, lane: (O, K), item: T, replaces: impl Fn(&T) -> bool) -> Result<T, T> {
        let lanes = &mut *self.locked();
        match lanes.waiting.get_mut(&lane).and_then(|queue| queue.iter_mut().find(|waiting| replaces(waiting))) {
            Some(waiting) => Ok(std::mem::replace(waiting, item)),
            None => Err(item),
        }
    }

    /// The next item of an active lane; with `None` the lane becomes idle.
    pub fn next(&self, lane: (O, K)) -> Option<T> {
        let lanes = &mut *self.locked();
        let item = lanes.waiting.get_mut(&lane).and_then(VecDeque::pop_front);
        let Some(owner) = lanes.owners.get_mut(&lane.0) else { return item };
        if item.is_some() {
            owner.waiting -= 1;
        } else if lanes.waiting.remove(&lane).is_some() {
            owner.active_lanes -= 1;
            if owner.active_lanes == 0 {
                lanes.owners.remove(&lane.0);
            }
        }
        item
    }

    /// Whether an item waits in the lane.
    pub fn waits(&self, lane: (O, K), is: impl Fn(&T) -> bool) -> bool {
        self.locked().waiting.get(&lane).is_some_and(|queue| queue.iter().any(is))
    }

    /// Discards what waits, and accepts nothing more.
    pub fn close(&self) {
        let lanes = &mut *self.locked();
        lanes.closed = true;
        lanes.waiting.values_mut().for_each(VecDeque::clear);
        lanes.owners.values_mut().for_each(|owner| owner.waiting = 0);
    }

    /// Waits for a slot of an active lane's owner.
    pub async fn turn(&self, owner: O) -> Turn {
        let slots = self.locked().owners.get(&owner).map(|owner| Arc::clone(&owner.slots));
        // The semaphores are never closed.
        let of_owner = match slots {
            Some(slots) => slots.acquire_owned().await.ok(),
            None => None,
        };
        let any = Arc::clone(&self.slots).acquire_owned().await.ok();
        Turn { _owner: of_owner, _any: any }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// A lane: its owner and key.
    fn lane(owner: u32, key: u32) -> (u32, u32) {
        (owner, key)
    }

    #[test]
    fn push_lane_is_processed_in_order_one_at_a_time() {
        let turns = Turns::default();
        assert_eq!(turns.push(lane(1, 1), 1), Pushed::Start(1));
        assert_eq!(turns.push(lane(1, 1), 2), Pushed::Queued);
        assert_eq!(turns.push(lane(1, 1), 3), Pushed::Queued);
        assert_eq!(turns.push(lane(1, 2), 4), Pushed::Start(4), "another key");
        assert_eq!(turns.push(lane(2, 1), 5), Pushed::Start(5), "another owner");
        assert!(turns.waits(lane(1, 1), |item| *item == 3) && !turns.waits(lane(1, 1), |item| *item == 1));
        assert_eq!((turns.next(lane(1, 1)), turns.next(lane(1, 1)), turns.next(lane(1, 1))), (Some(2), Some(3), None));
        assert_eq!(turns.push(lane(1, 1), 6), Pushed::Start(6), "the lane was idle");
    }

    #[test]
    fn replace_waiting_item_keeps_its_place() {
        let turns = Turns::default();
        assert_eq!(turns.replace(lane(1, 1), 9, |_| true), Err(9), "an idle lane");
        for item in [1, 2, 3] {
            turns.push(lane(1, 1), item);
        }
        assert_eq!(turns.replace(lane(1, 1), 7, |waiting| *waiting == 2), Ok(2));
        assert_eq!(turns.replace(lane(1, 1), 8, |waiting| *waiting == 2), Err(8));
        assert_eq!((turns.next(lane(1, 1)), turns.next(lane(1, 1)), turns.next(lane(1, 1))), (Some(7), Some(3), None));
    }

    #[test]
    fn push_too_much_of_one_owner_is_refused_and_others_are_not() {
        let turns = Turns::default();
        turns.push(lane(1, 1), 0);
        for item in 0..MAX_WAITING_PER_OWNER {
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

    /// An owner with many busy lanes leaves slots to another one.
    #[tokio::test]
    async fn turn_busy_owner_leaves_slots_to_others() {
        let turns = Turns::default();
        for key in 0..100 {
            turns.push(lane(1, key), ());
        }
        turns.push(lane(2, 1), ());
        let mut held = Vec::new();
        while let Some(turn) = turns.turn(lane(1, 0).0).now_or_never() {
            held.push(turn);
        }
        assert_eq!(held.len(), MAX_CONCURRENT_PER_OWNER);
        assert!(turns.turn(lane(2, 1).0).now_or_never().is_some());
        held.pop();
        assert!(turns.turn(lane(1, 0).0).now_or_never().is_some(), "a slot that is free again");
    }
}
