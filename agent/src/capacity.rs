//! Counts this backend's containers against its limits.
//!
//! A container's place is reserved under a lock before the container is created, so concurrent creations never exceed
//! the limit.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::ids::InstanceId;

/// Whether the backend may create one more container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityStatus {
    /// It may.
    Available,
    /// The limit is reached.
    Full {
        /// The limit.
        max: u32,
    },
}

/// The containers of one backend and their limits.
#[derive(Debug)]
pub struct Capacity(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    used: HashSet<InstanceId>,
    own_max: u32,
    enrolled_max: Option<u32>,
}

impl Capacity {
    /// `own_max` is the limit that the agent is configured with.
    #[must_use]
    pub fn new(own_max: u32) -> Self {
        Self(Mutex::new(Inner { used: HashSet::new(), own_max, enrolled_max: None }))
    }

    /// Sets the limit that the backend signed up with; the lower of the two limits applies.
    pub fn set_enrolled_max(&self, max: u32) {
        self.inner().enrolled_max = Some(max);
    }

    /// The limit.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.inner().max()
    }

    /// The number of containers that exist or are being created.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.inner().used.len()).unwrap_or(u32::MAX)
    }

    /// Whether this instance has a place or could get one.
    #[must_use]
    pub fn status_for(&self, instance: InstanceId) -> CapacityStatus {
        let inner = self.inner();
        if inner.used.contains(&instance) || inner.used() < inner.max() {
            CapacityStatus::Available
        } else {
            CapacityStatus::Full { max: inner.max() }
        }
    }

    /// Reserves a place for this instance; false if there is none. Idempotent.
    pub fn reserve(&self, instance: InstanceId) -> bool {
        let mut inner = self.inner();
        if !inner.used.contains(&instance) && inner.used() >= inner.max() {
            return false;
        }
        inner.used.insert(instance);
        true
    }

    /// Replaces the set of instances that use a place. Those with a worker (`busy`) are left as they are: the worker knows
    /// more than a list of containers, and only [`Self::reserve`] may give it a place.
    pub fn replace_all(&self, instances: impl IntoIterator<Item = InstanceId>, busy: &HashSet<InstanceId>) {
        let mut inner = self.inner();
        inner.used.retain(|instance| busy.contains(instance));
        inner.used.extend(instances.into_iter().filter(|instance| !busy.contains(instance)));
    }

    /// Records whether this instance has a container.
    pub fn set_exists(&self, instance: InstanceId, exists: bool) {
        let mut inner = self.inner();
        if exists {
            inner.used.insert(instance);
        } else {
            inner.used.remove(&instance);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every statement leaves the set consistent, so a poisoned lock is safe to use.
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
    fn capacity_applies_the_lower_limit_and_reuses_freed_places() {
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

    #[test]
    fn capacity_replaced_gives_and_takes_no_place_of_a_busy_instance() {
        let id = |n| InstanceId::from_uuid(Uuid::from_u128(n));
        let capacity = Capacity::new(3);
        assert!(capacity.reserve(id(1)) && capacity.reserve(id(2)));
        // 1 is being created, 3 waits for its confirmation, and 4 was removed after the containers were listed.
        capacity.replace_all([id(4), id(5), id(6)], &[id(1), id(3), id(4)].into());
        assert_eq!(capacity.used(), 3);
        let got_a_place = [1, 2, 3, 4, 5, 6].map(|n| capacity.reserve(id(n)));
        assert_eq!(got_a_place, [true, false, false, false, true, true]);
    }
}
