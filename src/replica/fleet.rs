//! The fleet: the backends that this replica knows, their connection state, and how many instances each one has.
//!
//! In: backend events, tenancy events, and the assignments that exist at start-up. Out: candidates for placements. A
//! placement counts from the event that decides it until the event that confirms that its container is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, Machine};
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::placement::{Candidate, place};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::PlacementChange;

/// All backends.
#[derive(Default)]
pub struct Fleet {
    state: Mutex<FleetState>,
}

#[derive(Default)]
struct FleetState {
    backends: BTreeMap<BackendId, Backend>,
    /// Instances that events have placed.
    placed: BTreeMap<BackendId, BTreeSet<InstanceId>>,
    /// Instances that requests on this replica are creating. Separate from `placed`: a request that ends without
    /// knowing its outcome must not undo a placement that an event has made.
    reserved: BTreeMap<InstanceId, BackendId>,
    /// The number of `reserved` entries of each backend.
    reserved_counts: BTreeMap<BackendId, usize>,
}

impl FleetState {
    fn used(&self, backend: BackendId) -> u32 {
        let placed = self.placed.get(&backend).map_or(0, BTreeSet::len);
        let reserved = self.reserved_counts.get(&backend).copied().unwrap_or_default();
        u32::try_from(placed + reserved).unwrap_or(u32::MAX)
    }

    fn place(&mut self, backend: BackendId, instance: InstanceId) {
        self.cancel_reservation(instance);
        self.placed.entry(backend).or_default().insert(instance);
    }

    fn reserve(&mut self, backend: BackendId, instance: InstanceId) {
        self.cancel_reservation(instance);
        self.reserved.insert(instance, backend);
        *self.reserved_counts.entry(backend).or_default() += 1;
    }

    fn cancel_reservation(&mut self, instance: InstanceId) {
        if let Some(backend) = self.reserved.remove(&instance)
            && let Some(count) = self.reserved_counts.get_mut(&backend)
        {
            *count -= 1;
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(id, backend): (&BackendId, &Backend)| {
            backend.machine.as_ref().map(|machine| Candidate::of(*id, machine).used(self.used(*id)))
        };
        self.backends.iter().filter_map(candidate).collect()
    }

    fn release(&mut self, backend: BackendId, instance: InstanceId) {
        if let Some(placed) = self.placed.get_mut(&backend) {
            placed.remove(&instance);
        }
    }
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, FleetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a placement; one that exists already stays.
    pub fn add_placement(&self, backend: BackendId, instance: InstanceId) {
        self.state().place(backend, instance);
    }

    /// Applies a backend event or a tenancy event.
    pub fn observe(&self, recorded: &RecordedEvent) {
        match (&recorded.envelope.aggregate, &recorded.envelope.event) {
            (AggregateId::Backend(id), Event::Backend(event)) => {
                self.state().backends.entry(*id).or_default().evolve(event, &recorded.envelope.meta);
            }
            (_, Event::Tenancy(event)) => {
                let Some(instance) = event.instance_id() else { return };
                for (backend, change) in event.placement_changes() {
                    match change {
                        PlacementChange::Added => self.add_placement(backend, instance),
                        PlacementChange::Removed => self.state().release(backend, instance),
                        PlacementChange::Abandoned => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// All backends as candidates for a placement.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.state().candidates()
    }

    /// Reserves a place for a new instance on the backend that placement will choose, so that parallel requests on this
    /// replica cannot be promised the same place.
    pub fn reserve(self: &Arc<Self>, instance: InstanceId, tie_breaker: u64) -> Reservation {
        let mut state = self.state();
        let candidates = state.candidates();
        let backend = place(&candidates, &[], tie_breaker).ok().map(|choice| choice.backend_id);
        if let Some(backend) = backend {
            state.reserve(backend, instance);
        }
        Reservation { fleet: Arc::clone(self), instance, committed: false, candidates }
    }

    /// One backend.
    pub fn machine(&self, id: BackendId) -> Option<Machine> {
        self.state().backends.get(&id).and_then(|backend| backend.machine.clone())
    }

    /// The number of registered backends and of connected ones.
    pub fn count(&self) -> (usize, usize) {
        let candidates = self.candidates();
        (candidates.len(), candidates.iter().filter(|candidate| candidate.connected).count())
    }
}

/// A place reserved for an instance; freed on drop unless committed.
pub struct Reservation {
    fleet: Arc<Fleet>,
    instance: InstanceId,
    committed: bool,
    /// The candidates before this reservation.
    pub candidates: Vec<Candidate>,
}

impl Reservation {
    /// Call when the request's event is stored: the reservation lasts until this replica applies that event.
    pub fn commit(mut self) {
        self.committed = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.committed {
            self.fleet.state().cancel_reservation(self.instance);
        }
    }
}

#[cfg(test)]
mod tests;
