//! What is known of the containers of one machine: those of its assignments, and those that were made over this socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_agent::container::{Container, ContainerState};
use dockhost_agent::ports::{self, Cursor, PortRange};
use dockhost_agent::runtime::container_name;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::{HostKeys, Invalid};
use dockhost_domain::wire::{Assignment, DesiredState, Limits, Ports};
use tokio::time::Instant;

use crate::protocol::{container_id, ports_in};

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The instance.
    pub instance: InstanceId,
    /// The instance's owner.
    pub user: UserId,
    /// The placement that it was made for.
    pub placement: u32,
    /// Its ports.
    pub ports: Ports,
    /// What its assignment says that it may use. The machine does not limit it.
    pub limits: Option<Limits>,
}

impl Known {
    /// The container of an assignment.
    #[must_use]
    pub fn of(assignment: &Assignment, ports: Ports) -> Self {
        let limits = assignment.container.as_ref().map(|spec| spec.limits);
        let Assignment { instance_id: instance, user_id: user, placement, .. } = *assignment;
        Self { instance, user, placement, ports, limits }
    }

    /// Its name on the machine.
    #[must_use]
    pub fn name(&self) -> String {
        container_name(self.instance, self.placement)
    }

    /// The container in this state, as the agent lists it.
    ///
    /// # Errors
    /// Never: the id is a name and a number.
    pub fn listed(&self, state: ContainerState) -> Result<Container, Invalid> {
        Ok(Container {
            id: container_id(&self.name(), self.ports)?,
            former_ids: vec![],
            instance: self.instance,
            user: self.user,
            placement: self.placement,
            ports: self.ports,
            state,
            host_keys: HostKeys::default(),
            limits: self.limits,
            keys_version: None,
        })
    }
}

/// The removal that an assignment wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The assignment.
    pub assignment: Assignment,
    /// Whether a container was removed for it over this socket.
    pub is_done: bool,
}

/// The containers of one machine.
#[derive(Debug)]
pub struct Containers(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    known: BTreeMap<(InstanceId, u32), Known>,
    /// When each was last started over this socket, or first found running.
    started: HashMap<(InstanceId, u32), Instant>,
    removals: HashMap<InstanceId, Removal>,
    range: PortRange,
    cursor: Cursor,
}

/// The ports of a new container are those of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine reported ports that another of its containers has")]
pub struct PortsTaken;

impl Containers {
    /// None are known. New ones get ports of this range; `seed` selects the first.
    #[must_use]
    pub fn new(range: PortRange, seed: u128) -> Self {
        let cursor = Cursor::seeded(range, seed);
        let (known, started, removals) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self(Mutex::new(Inner { known, started, removals, range, cursor }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change under this lock is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of the container that an assignment is about, if it has one.
    pub fn learn(&self, assignment: &Assignment) {
        let (instance, placement) = (assignment.instance_id, assignment.placement);
        let mut inner = self.inner();
        if assignment.desired == DesiredState::Deleted {
            inner.removals.insert(instance, Removal { assignment: assignment.clone(), is_done: false });
            return;
        }
        inner.removals.remove(&instance);
        let id = assignment.container.as_ref().and_then(|spec| spec.container_id.as_deref());
        if let Some(ports) = id.and_then(|id| ports_in(id, instance, placement)) {
            inner.known.entry((instance, placement)).or_insert_with(|| Known::of(assignment, ports));
        }
    }

    /// The known containers, of one instance or of all.
    #[must_use]
    pub fn of(&self, of: Option<InstanceId>) -> Vec<Known> {
        let is_asked_for = |known: &&Known| of.is_none_or(|instance| known.instance == instance);
        self.inner().known.values().filter(is_asked_for).cloned().collect()
    }

    /// Whether this container is known.
    #[must_use]
    pub fn knows(&self, instance: InstanceId, placement: u32) -> bool {
        self.inner().known.contains_key(&(instance, placement))
    }

    /// Whether the newest assignment wants this container to be removed.
    #[must_use]
    pub fn is_to_go(&self, known: &Known) -> bool {
        let is_meant = |removal: &Removal| removal.assignment.placement >= known.placement;
        self.inner().removals.get(&known.instance).is_some_and(is_meant)
    }

    /// The removal that the newest assignment of an instance wants.
    #[must_use]
    pub fn removal(&self, instance: InstanceId) -> Option<Removal> {
        self.inner().removals.get(&instance).cloned()
    }

    /// Where the ports of new containers are from.
    #[must_use]
    pub fn range(&self) -> PortRange {
        self.inner().range
    }

    /// The first of three ports that no known container has; `None` if the range has none.
    #[must_use]
    pub fn next_port(&self) -> Option<u16> {
        let mut inner = self.inner();
        let used: BTreeSet<u16> = inner.known.values().flat_map(|known| ports::numbers(known.ports)).collect();
        let (ports, cursor) = ports::allocate(inner.range, inner.cursor, &used, |_| true)?;
        inner.cursor = cursor;
        Some(ports.ssh)
    }

    /// Adds a container that was made now.
    ///
    /// # Errors
    /// If another one has one of its ports.
    pub fn add(&self, new: Known, now: Instant) -> Result<(), PortsTaken> {
        let (key, numbers) = ((new.instance, new.placement), ports::numbers(new.ports));
        let mut inner = self.inner();
        let mut others = inner.known.iter().filter(|(other, _)| **other != key);
        if others.any(|(_, other)| ports::numbers(other.ports).iter().any(|port| numbers.contains(port))) {
            return Err(PortsTaken);
        }
        inner.started.insert(key, now);
        inner.known.insert(key, new);
        Ok(())
    }

    /// The container was started now.
    pub fn note_start(&self, instance: InstanceId, placement: u32, now: Instant) {
        self.inner().started.insert((instance, placement), now);
    }

    /// For how long the container runs, as far as is known.
    #[must_use]
    pub fn running_for(&self, instance: InstanceId, placement: u32, now: Instant) -> Duration {
        now.duration_since(*self.inner().started.entry((instance, placement)).or_insert(now))
    }

    /// The container with this name was removed.
    pub fn forget(&self, name: &str) {
        let inner = &mut *self.inner();
        let keys = inner.known.values().filter(|known| known.name() == name);
        let Some(key) = keys.map(|known| (known.instance, known.placement)).next() else { return };
        inner.known.remove(&key);
        inner.started.remove(&key);
    }

    /// The removal of an instance's container was carried out.
    pub fn note_removal(&self, instance: InstanceId) {
        if let Some(removal) = self.inner().removals.get_mut(&instance) {
            removal.is_done = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ports_from;
    use crate::testing::{assignment, with_container};

    fn containers() -> Containers {
        Containers::new("20000-20008".parse().unwrap(), 0)
    }

    #[test]
    fn learn_takes_the_container_from_its_id() {
        let containers = containers();
        containers.learn(&assignment(1, DesiredState::Running, None));
        containers.learn(&assignment(2, DesiredState::Running, Some("a".repeat(64))));
        assert_eq!(containers.of(None), [], "of another engine");
        let assigned = with_container(3, 20003);
        containers.learn(&assigned);
        let [known] = &containers.of(None)[..] else { panic!("{containers:?}") };
        let listed = known.listed(ContainerState::Starting).unwrap();
        assert_eq!(Some(listed.id.as_str()), assigned.container.as_ref().and_then(|spec| spec.container_id.as_deref()));
        assert_eq!(listed.ports.ssh, 20003);
        assert_eq!(containers.of(Some(assigned.instance_id)).len(), 1);
        assert!(containers.knows(assigned.instance_id, 1) && !containers.knows(assigned.instance_id, 2));
    }

    #[test]
    fn learn_of_a_removal_marks_its_placement_and_lower_ones() {
        let containers = containers();
        let assigned = with_container(1, 20000);
        containers.learn(&assigned);
        let known = containers.of(None).remove(0);
        assert!(!containers.is_to_go(&known));
        containers.learn(&assignment(1, DesiredState::Deleted, None));
        assert!(containers.is_to_go(&known));
        assert!(!containers.is_to_go(&Known { placement: 2, ..known.clone() }));
        containers.note_removal(assigned.instance_id);
        containers.forget(&known.name());
        assert!(containers.removal(assigned.instance_id).unwrap().is_done && containers.of(None).is_empty());
        containers.learn(&assigned);
        assert_eq!(containers.removal(assigned.instance_id), None, "it is wanted again");
    }

    #[test]
    fn ports_are_not_those_of_another_container() {
        let (containers, now) = (containers(), Instant::now());
        containers.learn(&with_container(1, 20000));
        assert_eq!(containers.next_port(), Some(20003));
        let new =
            |instance, port| Known::of(&assignment(instance, DesiredState::Running, None), ports_from(port).unwrap());
        assert_eq!(containers.add(new(2, 20002), now), Err(PortsTaken));
        assert_eq!(containers.add(new(2, 20003), now), Ok(()));
        assert_eq!(containers.add(new(2, 20003), now), Ok(()), "itself again");
        assert_eq!(containers.next_port(), Some(20006));
        assert_eq!(containers.add(new(3, 20006), now), Ok(()));
        assert_eq!(containers.next_port(), None);
    }
}
