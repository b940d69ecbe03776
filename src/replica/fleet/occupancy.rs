//! What is placed on one backend: the instances, and what they may use in all.

use std::collections::BTreeMap;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::room::Resources;

/// Instances and the sum of what they may use.
#[derive(Debug, Default)]
pub struct Occupancy {
    /// `None` where it is not known what an instance may use.
    instances: BTreeMap<InstanceId, Option<Resources>>,
    total: Resources,
}

impl Occupancy {
    /// Adds an instance. If it is not known what it may use (`None`), it counts as an instance only, unless more was known
    /// before.
    pub fn add(&mut self, instance: InstanceId, resources: Option<Resources>) {
        let resources = resources.or_else(|| self.resources(instance));
        let before = self.instances.insert(instance, resources).flatten();
        self.total = self.total.minus(before.unwrap_or_default()).plus(resources.unwrap_or_default());
    }

    /// Removes an instance.
    pub fn remove(&mut self, instance: InstanceId) {
        if let Some(resources) = self.instances.remove(&instance).flatten() {
            self.total = self.total.minus(resources);
        }
    }

    /// What an instance may use, if that is known.
    pub fn resources(&self, instance: InstanceId) -> Option<Resources> {
        self.instances.get(&instance).copied().flatten()
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
        let mut occupancy = Occupancy::default();
        let shown = |occupancy: &Occupancy| (occupancy.len(), occupancy.total());
        occupancy.add(id(1), Some(of(100)));
        occupancy.add(id(1), Some(of(100)));
        occupancy.add(id(1), None);
        assert_eq!(shown(&occupancy), (1, of(100)));
        occupancy.add(id(2), None);
        assert_eq!(shown(&occupancy), (2, of(100)));
        assert_eq!((occupancy.resources(id(1)), occupancy.resources(id(2))), (Some(of(100)), None));
        occupancy.add(id(2), Some(of(50)));
        assert_eq!(shown(&occupancy), (2, Resources { memory_mib: 150, cpu_millis: 2 }));
        occupancy.remove(id(1));
        occupancy.remove(id(1));
        assert_eq!(shown(&occupancy), (1, of(50)));
    }
}
