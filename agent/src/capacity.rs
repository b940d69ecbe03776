//! Counts this backend's containers, and what they may use, against its limits.
//!
//! A container's place is reserved under a lock before the container is created, so concurrent creations never exceed
//! the limits.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::ids::InstanceId;
use dockhost_domain::room::{Overcommit, Resources, Room, Shortage};
use dockhost_domain::wire::MachineSize;

/// Whether the backend may create one more container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityStatus {
    /// It may.
    Available,
    /// The limit of containers is reached.
    Full {
        /// The limit.
        max: u32,
    },
    /// The other containers leave too little memory or processor time.
    Short(Shortage),
}

/// The containers of one backend and their limits.
#[derive(Debug)]
pub struct Capacity(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    used: HashMap<InstanceId, Resources>,
    own_max: u32,
    enrolled_max: Option<u32>,
    size: Option<MachineSize>,
    overcommit: Option<Overcommit>,
}

impl Capacity {
    /// `own_max` is the limit of containers that the agent is configured with, `size` what the machine has for them.
    #[must_use]
    pub fn new(own_max: u32, size: Option<MachineSize>) -> Self {
        Self(Mutex::new(Inner { used: HashMap::new(), own_max, enrolled_max: None, size, overcommit: None }))
    }

    /// Sets the limit that the backend is enrolled with, of which the lower one applies, and how much of the machine's
    /// memory and processor time containers may be promised.
    pub fn set_enrolled(&self, max: u32, overcommit: Option<Overcommit>) {
        let mut inner = self.inner();
        (inner.enrolled_max, inner.overcommit) = (Some(max), overcommit);
    }

    /// The limit of containers.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.inner().max()
    }

    /// What the machine has for containers.
    #[must_use]
    pub fn size(&self) -> Option<MachineSize> {
        self.inner().size
    }

    /// The number of containers that exist or are being created.
    #[must_use]
    pub fn used(&self) -> u32 {
        u32::try_from(self.inner().used.len()).unwrap_or(u32::MAX)
    }

    /// Whether this instance has a place or could get one with these resources.
    #[must_use]
    pub fn status_for(&self, instance: InstanceId, resources: Resources) -> CapacityStatus {
        self.inner().status_for(instance, resources)
    }

    /// Reserves a place for this instance; false if there is none. Idempotent.
    pub fn reserve(&self, instance: InstanceId, resources: Resources) -> bool {
        let mut inner = self.inner();
        if inner.status_for(instance, resources) != CapacityStatus::Available {
            return false;
        }
        inner.used.insert(instance, resources);
        true
    }

    /// Replaces the set of instances that use a place. Those with a worker (`busy`) are left as they are: the worker knows
    /// more than a list of containers, and only [`Self::reserve`] may give it a place.
    pub fn replace_all(
        &self,
        instances: impl IntoIterator<Item = (InstanceId, Resources)>,
        busy: &HashSet<InstanceId>,
    ) {
        let mut inner = self.inner();
        inner.used.retain(|instance, _| busy.contains(instance));
        inner.used.extend(instances.into_iter().filter(|(instance, _)| !busy.contains(instance)));
    }

    /// Records that this instance has a container; its resources if they are not known yet.
    pub fn set_exists(&self, instance: InstanceId, resources: Resources) {
        self.inner().used.entry(instance).or_insert(resources);
    }

    /// Records that this instance has no container.
    pub fn set_gone(&self, instance: InstanceId) {
        self.inner().used.remove(&instance);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every statement leaves the map consistent, so a poisoned lock is safe to use.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn max(&self) -> u32 {
        self.own_max.min(self.enrolled_max.unwrap_or(u32::MAX))
    }

    fn room(&self) -> Room {
        self.overcommit.map(|overcommit| overcommit.room(self.size)).unwrap_or_default()
    }

    fn status_for(&self, instance: InstanceId, resources: Resources) -> CapacityStatus {
        if self.used.contains_key(&instance) {
            return CapacityStatus::Available;
        }
        if u32::try_from(self.used.len()).unwrap_or(u32::MAX) >= self.max() {
            return CapacityStatus::Full { max: self.max() };
        }
        let used = self.used.values().fold(Resources::default(), |sum, resources| sum.plus(*resources));
        match self.room().check(used, resources) {
            Ok(()) => CapacityStatus::Available,
            Err(shortage) => CapacityStatus::Short(shortage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NONE: Resources = Resources { memory_mib: 0, cpu_millis: 0 };

    fn id(n: u128) -> InstanceId {
        InstanceId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn capacity_applies_the_lower_limit_and_reuses_freed_places() {
        let capacity = Capacity::new(5, None);
        capacity.set_enrolled(2, None);
        assert!(capacity.reserve(id(1), NONE) && capacity.reserve(id(1), NONE) && capacity.reserve(id(2), NONE));
        assert!(!capacity.reserve(id(3), NONE));
        assert_eq!(
            (capacity.status_for(id(1), NONE), capacity.status_for(id(3), NONE)),
            (CapacityStatus::Available, CapacityStatus::Full { max: 2 })
        );
        capacity.set_gone(id(1));
        assert!(capacity.reserve(id(3), NONE));
        assert_eq!((capacity.used(), capacity.max()), (2, 2));
    }

    #[test]
    fn capacity_promises_no_more_memory_and_processor_time_than_the_server_says() {
        let of = |memory_mib, cpu_millis| Resources { memory_mib, cpu_millis };
        let capacity = Capacity::new(9, Some(MachineSize { memory_mib: 1000, cpu_millis: 1000 }));
        let big = of(5000, 5000);
        assert_eq!(
            capacity.status_for(id(1), big),
            CapacityStatus::Available,
            "servers of earlier releases limit nothing"
        );
        let overcommit = Overcommit { cpu_percent: "2".parse().unwrap(), memory_percent: "1".parse().unwrap() };
        capacity.set_enrolled(9, Some(overcommit));
        assert!(capacity.reserve(id(1), of(600, 500)) && !capacity.reserve(id(2), of(600, 500)));
        let short = CapacityStatus::Short(Shortage::Memory { free: 400, asked: 600 });
        assert_eq!(capacity.status_for(id(2), of(600, 500)), short);
        let short = CapacityStatus::Short(Shortage::Cpu { free: 1500, asked: 1600 });
        assert_eq!(capacity.status_for(id(2), of(400, 1600)), short);
        assert!(capacity.reserve(id(2), of(400, 1500)));
        capacity.set_exists(id(1), of(1, 1));
        assert!(!capacity.reserve(id(3), of(1, 0)), "what exists keeps what it was created with");
        capacity.set_gone(id(1));
        assert!(capacity.reserve(id(3), of(600, 500)));
        capacity.replace_all([(id(4), of(300, 0))], &[id(2)].into());
        assert_eq!(
            capacity.status_for(id(5), of(301, 0)),
            CapacityStatus::Short(Shortage::Memory { free: 300, asked: 301 })
        );
    }

    #[test]
    fn capacity_replaced_gives_and_takes_no_place_of_a_busy_instance() {
        let capacity = Capacity::new(3, None);
        assert!(capacity.reserve(id(1), NONE) && capacity.reserve(id(2), NONE));
        // 1 is being created, 3 waits for its confirmation, and 4 was removed after the containers were listed.
        capacity.replace_all([4, 5, 6].map(|n| (id(n), NONE)), &[id(1), id(3), id(4)].into());
        assert_eq!(capacity.used(), 3);
        let got_a_place = [1, 2, 3, 4, 5, 6].map(|n| capacity.reserve(id(n), NONE));
        assert_eq!(got_a_place, [true, false, false, false, true, true]);
    }
}
