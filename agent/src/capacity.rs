//! How many containers this backend holds, and whether it takes one more.
//!
//! In: what the runtime lists, and the containers that are being made. Out: a place, or none. A place is taken before
//! a container is made, in one step under a lock, so that creations side by side never exceed the limit.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::ids::InstanceId;

use crate::step::CapacityStatus;

/// The places of one backend.
#[derive(Debug)]
pub struct Capacity(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    used: HashSet<InstanceId>,
    own_max: u32,
    enrolled_max: Option<u32>,
}

impl Capacity {
    /// At most `own_max` containers: the agent's own last word.
    #[must_use]
    pub fn new(own_max: u32) -> Self {
        Self(Mutex::new(Inner { used: HashSet::new(), own_max, enrolled_max: None }))
    }

    /// At most this many too: what the backend is enrolled for.
    pub fn set_enrolled_max(&self, max: u32) {
        self.inner().enrolled_max = Some(max);
    }

    /// Whether the server has said how many the backend is enrolled for.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.inner().enrolled_max.is_some()
    }

    /// The containers that it takes at most.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.inner().max()
    }

    /// The containers that exist or are being made.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.inner().used.len()).unwrap_or(u32::MAX)
    }

    /// Whether a container of this instance would find a place.
    #[must_use]
    pub fn status_for(&self, instance: InstanceId) -> CapacityStatus {
        let inner = self.inner();
        if inner.used.contains(&instance) || inner.used() < inner.max() {
            CapacityStatus::Available
        } else {
            CapacityStatus::Full { max: inner.max() }
        }
    }

    /// Takes a place for this instance; false when there is none. Taking it twice is taking it once.
    pub fn reserve(&self, instance: InstanceId) -> bool {
        let mut inner = self.inner();
        if !inner.used.contains(&instance) && inner.used() >= inner.max() {
            return false;
        }
        inner.used.insert(instance);
        true
    }

    /// Exactly these instances have a container or are being worked at.
    pub fn replace_all(&self, instances: impl IntoIterator<Item = InstanceId>) {
        let used = instances.into_iter().collect();
        self.inner().used = used;
    }

    /// Notes whether this instance has a container, as the runtime said.
    pub fn set_exists(&self, instance: InstanceId, exists: bool) {
        let mut inner = self.inner();
        if exists {
            inner.used.insert(instance);
        } else {
            inner.used.remove(&instance);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The set is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn max(&self) -> u32 {
        self.own_max.min(self.enrolled_max.unwrap_or(u32::MAX))
    }

    fn used(&self) -> u32 {
        u32::try_from(self.used.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_lower_of_both_limits_counts_and_freed_places_come_back() {
        let id = |n| InstanceId::from_uuid(Uuid::from_u128(n));
        let capacity = Capacity::new(5);
        capacity.set_enrolled_max(2);
        assert!(capacity.reserve(id(1)) && capacity.reserve(id(1)) && capacity.reserve(id(2)));
        assert!(!capacity.reserve(id(3)));
        assert_eq!(
            (capacity.status_for(id(1)), capacity.status_for(id(3))),
            (CapacityStatus::Available, CapacityStatus::Full { max: 2 })
        );
        capacity.set_exists(id(1), false);
        assert!(capacity.reserve(id(3)));
        assert_eq!((capacity.used(), capacity.max()), (2, 2));
    }
}
