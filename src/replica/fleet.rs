//! The machines as this replica knows them: who they are, whether they are heard, and what they hold.
//!
//! In: backend events, tenancy events, and the assignments that stood at start. Out: candidates for a placement, and
//! the name and address that go with an instance. What a machine holds follows from events alone: a placement takes
//! room when it is decided and frees it when the machine confirms that nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, Link, Machine};
use dockhost_domain::envelope::Recorded;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::placement::{Candidate, place};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::TenancyEvent;
use dockhost_domain::tenancy::event::End;

/// The machines.
#[derive(Default)]
pub struct Fleet {
    state: Mutex<FleetState>,
}

#[derive(Default)]
struct FleetState {
    machines: BTreeMap<BackendId, Backend>,
    /// By what was decided.
    placed: BTreeMap<BackendId, BTreeSet<InstanceId>>,
    /// By what is being asked for on this replica. Apart from `placed`, so that a request which ends without knowing
    /// what became of it takes nothing back that an event has given.
    reserved: BTreeMap<InstanceId, BackendId>,
}

impl FleetState {
    fn used(&self, backend: BackendId) -> u32 {
        let held = self.placed.get(&backend).map_or(0, BTreeSet::len);
        let reserved = self.reserved.values().filter(|reserved| **reserved == backend).count();
        u32::try_from(held + reserved).unwrap_or(u32::MAX)
    }

    fn place(&mut self, backend: BackendId, instance: InstanceId) {
        self.reserved.remove(&instance);
        self.placed.entry(backend).or_default().insert(instance);
    }

    fn candidates(&self) -> Vec<Candidate> {
        let machine = |(id, backend): (&BackendId, &Backend)| {
            backend.machine.as_ref().map(|machine| Candidate {
                backend_id: *id,
                connected: machine.link == Link::Connected,
                used: self.used(*id),
                max_containers: machine.details.max_containers,
            })
        };
        self.machines.iter().filter_map(machine).collect()
    }

    fn release(&mut self, backend: BackendId, instance: InstanceId) {
        if let Some(held) = self.placed.get_mut(&backend) {
            held.remove(&instance);
        }
    }
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, FleetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An assignment that stood when this replica began to follow.
    pub fn add_placement(&self, backend: BackendId, instance: InstanceId) {
        self.state().place(backend, instance);
    }

    /// Brings the machine of an event up to date.
    pub fn observe(&self, recorded: &Recorded) {
        match (&recorded.envelope.aggregate, &recorded.envelope.event) {
            (AggregateId::Backend(id), Event::Backend(event)) => {
                self.state().machines.entry(*id).or_default().evolve(event, &recorded.envelope.meta);
            }
            (_, Event::Tenancy(event)) => {
                let Some(instance) = event.instance_id() else { return };
                match event {
                    TenancyEvent::Requested(e) => self.add_placement(e.choice.backend_id, instance),
                    TenancyEvent::Placed(e) => self.add_placement(e.choice.backend_id, instance),
                    TenancyEvent::Released(e) => self.state().release(e.backend_id, instance),
                    TenancyEvent::Deleted(e) => match e.end {
                        End::Confirmed { backend_id } => self.state().release(backend_id, instance),
                        End::Abandoned { .. } | End::Unplaced => {}
                    },
                    TenancyEvent::Observed(_)
                    | TenancyEvent::StopRequested(_)
                    | TenancyEvent::ResumeRequested(_)
                    | TenancyEvent::DeleteRequested(_)
                    | TenancyEvent::Failed(_)
                    | TenancyEvent::Closed(_) => {}
                }
            }
            _ => {}
        }
    }

    /// All machines as candidates for a placement.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.state().candidates()
    }

    /// The candidates for a new instance, with the room that it will get held for it until its event is seen: of
    /// creates in parallel on this replica, none is promised the same room.
    pub fn reserve(&self, instance: InstanceId, tie_breaker: u64) -> Reservation<'_> {
        let mut state = self.state();
        let candidates = state.candidates();
        let backend = place(&candidates, &[], tie_breaker).ok().map(|choice| choice.backend_id);
        if let Some(backend) = backend {
            state.reserved.insert(instance, backend);
        }
        Reservation { fleet: self, instance, committed: false, candidates }
    }

    /// One machine.
    pub fn machine(&self, id: BackendId) -> Option<Machine> {
        self.state().machines.get(&id).and_then(|backend| backend.machine.clone())
    }

    /// How many machines there are, and how many of them are heard.
    pub fn count(&self) -> (usize, usize) {
        let candidates = self.candidates();
        (candidates.len(), candidates.iter().filter(|candidate| candidate.connected).count())
    }
}

/// Room held for an instance that is being asked for; given back unless it is committed.
pub struct Reservation<'a> {
    fleet: &'a Fleet,
    instance: InstanceId,
    committed: bool,
    /// The machines as they were just before.
    pub candidates: Vec<Candidate>,
}

impl Reservation<'_> {
    /// The instance was stored as placed there: its event, which may not have been seen yet, takes the room over.
    pub fn commit(mut self) {
        self.committed = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.fleet.state().reserved.remove(&self.instance);
        }
    }
}

#[cfg(test)]
mod tests;
