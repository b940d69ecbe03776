//! What is placed on one backend: the instances, and what they may use in all.

use std::collections::BTreeMap;

use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::room::Resources;

/// Instances and the sum of what they may use.
#[derive(Debug, Default)]
pub struct Occupancy {
    instances: BTreeMap<InstanceId, Occupant>,
    total: Resources,
}

/// What is known of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupant {
    /// Whose it is.
    pub owner: Option<UserId>,
    /// What it may use.
    pub resources: Option<Resources>,
}

impl Occupancy {
    /// Adds an instance; what is not known of it now is as it was known before. Without resources it counts as an instance only.
    pub fn add(&mut self, instance: InstanceId, occupant: Occupant) {
        let before = self.instances.get(&instance).copied().unwrap_or_default();
        let now =
            Occupant { owner: occupant.owner.or(before.owner), resources: occupant.resources.or(before.resources) };
        self.instances.insert(instance, now);
        self.total = self.total.minus(before.resources.unwrap_or_default()).plus(now.resources.unwrap_or_default());
    }

    /// Removes an instance.
    pub fn remove(&mut self, instance: InstanceId) {
        if let Some(resources) = self.instances.remove(&instance).and_then(|occupant| occupant.resources) {
            self.total = self.total.minus(resources);
        }
    }

    /// The instances whose owner is known.
    pub fn owned(&self) -> impl Iterator<Item = (UserId, InstanceId)> {
        self.instances.iter().filter_map(|(id, occupant)| Some((occupant.owner?, *id)))
    }

    /// What an instance may use, if that is known.
    pub fn resources(&self, instance: InstanceId) -> Option<Resources> {
        self.instances.get(&instance).and_then(|occupant| occupant.resources)
    }

    /// Whether an instance is among them.
    pub fn contains(&self, instance: InstanceId) -> bool {
        self.instances.contains_key(&instance)
    }

    /// The number of instances.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// What all of them may use.
    pub const fn total(&self) -> Resources {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn occupancy_total_is_the_sum_whatever_is_added_twice_or_unknown() {
        let id = |n| InstanceId::from_uuid(Uuid::from_u128(n));
        let of = |memory_mib| Resources { memory_mib, cpu_millis: 1 };
        let using = |memory_mib| Occupant { owner: None, resources: Some(of(memory_mib)) };
        let mut occupancy = Occupancy::default();
        let shown = |occupancy: &Occupancy| (occupancy.len(), occupancy.total());
        occupancy.add(id(1), using(100));
        occupancy.add(id(1), using(100));
        occupancy.add(id(1), Occupant::default());
        assert_eq!(shown(&occupancy), (1, of(100)));
        occupancy.add(id(2), Occupant::default());
        assert_eq!(shown(&occupancy), (2, of(100)));
        assert_eq!((occupancy.resources(id(1)), occupancy.resources(id(2))), (Some(of(100)), None));
        occupancy.add(id(2), using(50));
        assert_eq!(shown(&occupancy), (2, Resources { memory_mib: 150, cpu_millis: 2 }));
        occupancy.remove(id(1));
        occupancy.remove(id(1));
        assert_eq!(shown(&occupancy), (1, of(50)));
    }

    #[test]
    fn occupancy_keeps_the_owner_that_was_known_before() {
        let id = |n| InstanceId::from_uuid(Uuid::from_u128(n));
        let ada = UserId::from_uuid(Uuid::from_u128(7));
        let mut occupancy = Occupancy::default();
        occupancy.add(id(1), Occupant { owner: Some(ada), resources: None });
        occupancy.add(id(1), Occupant::default());
        occupancy.add(id(2), Occupant::default());
        assert_eq!(occupancy.owned().collect::<Vec<_>>(), [(ada, id(1))]);
    }
}
