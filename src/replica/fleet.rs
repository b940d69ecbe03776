//! The fleet: the backends that this replica knows, their connection state, and how many instances each one has.
//!
//! In: backend events, tenancy events, and the assignments that exist at start-up. Out: candidates for placements. A
//! placement counts from the event that decides it until the event that confirms that its container is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::{Backend, ConnectionState, Machine};
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{AgentRunId, BackendId, InstanceId, UserId};
use dockhost_domain::placement::{Candidate, Demand, Ineligible, RecentRefusals, place};
use dockhost_domain::room::{Overcommit, Resources};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{FailureReason, PlacementChange, PlacementFailure, TenancyEvent};
use dockhost_domain::timestamp::Timestamp;

use super::heartbeat_registry::HeartbeatRegistry;
use super::presence::Presence;
use crate::common::clock;

mod occupancy;

use occupancy::{Occupancy, Occupant};

/// All backends.
#[derive(Default)]
pub struct Fleet {
    state: Mutex<FleetState>,
    heartbeats: Arc<HeartbeatRegistry>,
    overcommit: Overcommit,
}

#[derive(Default)]
struct FleetState {
    backends: BTreeMap<BackendId, Backend>,
    /// Instances that events have placed.
    placed: BTreeMap<BackendId, Occupancy>,
    /// Instances that requests on this replica are creating. Separate from `placed`: a request that ends without
    /// knowing its outcome must not undo a placement that an event has made.
    reserved: BTreeMap<InstanceId, BackendId>,
    /// The `reserved` entries of each backend.
    reserved_on: BTreeMap<BackendId, Occupancy>,
    /// Who refused or failed placements lately, in which run of its agent: a restarted agent begins without them.
    refusals: BTreeMap<BackendId, (Option<AgentRunId>, RecentRefusals)>,
}

impl FleetState {
    fn placed_on(&self, backend: BackendId) -> usize {
        self.placed.get(&backend).map_or(0, Occupancy::len)
    }

    /// The instances on a backend, and what they may use.
    fn used(&self, backend: BackendId) -> (u32, Resources) {
        let on = [&self.placed, &self.reserved_on].into_iter().filter_map(|by_backend| by_backend.get(&backend));
        let (count, total) = on.fold((0, Resources::default()), |(count, total), occupancy| {
            (count + occupancy.len(), total.plus(occupancy.total()))
        });
        (u32::try_from(count).unwrap_or(u32::MAX), total)
    }

    fn place(&mut self, backend: BackendId, instance: InstanceId, occupant: Occupant) {
        self.cancel_reservation(instance);
        self.placed.entry(backend).or_default().add(instance, occupant);
    }

    fn reserve(&mut self, backend: BackendId, instance: InstanceId, resources: Resources) {
        self.cancel_reservation(instance);
        self.reserved.insert(instance, backend);
        let occupant = Occupant { owner: None, resources: Some(resources) };
        self.reserved_on.entry(backend).or_default().add(instance, occupant);
    }

    fn cancel_reservation(&mut self, instance: InstanceId) {
        if let Some(backend) = self.reserved.remove(&instance)
            && let Some(occupancy) = self.reserved_on.get_mut(&backend)
        {
            occupancy.remove(instance);
        }
    }

    fn candidates(&self, heartbeats: &HeartbeatRegistry, overcommit: Overcommit, now: Timestamp) -> Vec<Candidate> {
        let candidate = |(id, backend): (&BackendId, &Backend)| {
            let machine = backend.machine.as_ref()?;
            let said = heartbeats.now(*id);
            let unavailable = if said.presence == Presence::Heard { said.obstacle } else { Some(Ineligible::Silent) };
            let refusals = self.refusals.get(id).filter(|(run, _)| *run == said.run);
            let refusals = refusals.map_or(0, |(_, refusals)| refusals.rank(now));
            let (used, in_use) = self.used(*id);
            let candidate = Candidate::of(*id, machine).used(used).room(overcommit.room(said.size), in_use);
            let candidate = candidate.unavailable(unavailable);
            // The lower limit applies, and a backend that would refuse need not be asked.
            Some(candidate.at_most(said.max_containers.unwrap_or(u32::MAX)).refusals(refusals))
        };
        self.backends.iter().filter_map(candidate).collect()
    }

    /// Remembers the backend of a placement that came to nothing. A lost or removed backend
    /// refused nothing.
    fn record_refusal(&mut self, heartbeats: &HeartbeatRegistry, event: &TenancyEvent, at: Timestamp) {
        let failure = match event {
            TenancyEvent::Placed(placed) => &placed.failure,
            TenancyEvent::Failed(failed) if failed.abandons_placement => &failed.failure,
            _ => return,
        };
        let PlacementFailure { backend_id, reason } = failure;
        if !matches!(reason, FailureReason::Lost | FailureReason::Removed) {
            let run = heartbeats.now(*backend_id).run;
            let (of, refusals) = self.refusals.entry(*backend_id).or_default();
            if *of != run {
                (*of, *refusals) = (run, RecentRefusals::default());
            }
            refusals.record(at);
        }
    }

    fn release(&mut self, backend: BackendId, instance: InstanceId) {
        if let Some(placed) = self.placed.get_mut(&backend) {
            placed.remove(instance);
        }
    }
}

impl Fleet {
    /// An empty fleet whose agents are heard in this registry.
    pub fn new(heartbeats: Arc<HeartbeatRegistry>, overcommit: Overcommit) -> Self {
        Self { state: Mutex::default(), heartbeats, overcommit }
    }

    fn state(&self) -> MutexGuard<'_, FleetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a placement; one that exists already stays. `owner` is whose instance it is, and `resources` what it may use, if that
    /// is known.
    pub fn add_placement(
        &self,
        backend: BackendId,
        instance: InstanceId,
        owner: Option<UserId>,
        resources: Option<Resources>,
    ) {
        self.state().place(backend, instance, Occupant { owner, resources });
    }

    /// Applies a backend event or a tenancy event.
    pub fn observe(&self, recorded: &RecordedEvent) {
        match (&recorded.envelope.aggregate, &recorded.envelope.event) {
            (AggregateId::Backend(id), Event::Backend(event)) => {
                self.state().backends.entry(*id).or_default().evolve(event, &recorded.envelope.meta);
            }
            (AggregateId::Tenancy(owner), Event::Tenancy(event)) => {
                let Some(instance) = event.instance_id() else { return };
                let mut state = self.state();
                state.record_refusal(&self.heartbeats, event, recorded.envelope.meta.time);
                let resources = match event {
                    TenancyEvent::Requested(requested) => Some(requested.limits.into()),
                    // It was placed elsewhere before.
                    TenancyEvent::Placed(_) | TenancyEvent::Moved(_) => {
                        state.placed.values().find_map(|occupancy| occupancy.resources(instance))
                    }
                    _ => None,
                };
                for (backend, change) in event.placement_changes() {
                    match change {
                        PlacementChange::Added => {
                            state.place(backend, instance, Occupant { owner: Some(*owner), resources });
                        }
                        PlacementChange::Removed => state.release(backend, instance),
                        PlacementChange::Abandoned => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// All backends as candidates for a placement.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.state().candidates(&self.heartbeats, self.overcommit, clock::now())
    }

    /// Waits until a backend can take an instance with this demand or, right after the start, until every connected agent that runs has been heard: a
    /// replica that has heard nobody yet would refuse wrongly. It takes at most one interval of heartbeats.
    pub async fn wait_for_room(&self, demand: &Demand) {
        let has_room = || place(&self.candidates(), demand, &[], 0).is_ok();
        self.wait_until_heard(has_room).await;
    }

    /// Waits like [`Self::wait_for_room`], but until all are heard: for a decision that tries several backends.
    pub async fn wait_for_heartbeats(&self) {
        self.wait_until_heard(|| false).await;
    }

    async fn wait_until_heard(&self, enough: impl Fn() -> bool) {
        let mut recorded = self.heartbeats.subscribe();
        let time = self.heartbeats.time_to_settle();
        if time.is_zero() {
            return;
        }
        let wait = async { while !enough() && self.is_any_unknown() && recorded.changed().await.is_ok() {} };
        // When the time is over, whoever runs has been heard.
        let _: Result<(), _> = tokio::time::timeout(time, wait).await;
    }

    /// Whether a backend of which this replica does not know yet can take instances by the log.
    fn is_any_unknown(&self) -> bool {
        let is_unknown = |backend| self.heartbeats.now(backend).presence == Presence::Unknown;
        let by_log = |backend: &Backend| backend.machine.as_ref().is_some_and(|m| Ineligible::by_log(m).is_none());
        self.state().backends.iter().any(|(id, backend)| by_log(backend) && is_unknown(*id))
    }

    /// The backends that are connected by the log, each with the number of instances placed on it.
    pub fn connected(&self) -> Vec<(BackendId, usize)> {
        let state = self.state();
        let connected = state.backends.iter().filter(|(_, backend)| {
            backend.machine.as_ref().is_some_and(|machine| machine.connection == ConnectionState::Connected)
        });
        connected.map(|(id, _)| (*id, state.placed_on(*id))).collect()
    }

    /// The backends that are lost by the log.
    pub fn lost(&self) -> Vec<LostBackend> {
        let state = self.state();
        let lost = state.backends.iter().filter_map(|(id, backend)| {
            let since = backend.machine.as_ref()?.lost_at?;
            let instances = state.placed.get(id).map(|placed| placed.owned().collect()).unwrap_or_default();
            Some(LostBackend { id: *id, since, instances })
        });
        lost.collect()
    }

    /// All registered backends, those that await approval among them, each with the number of instances placed on it.
    pub fn machines(&self) -> Vec<(BackendId, Machine, usize)> {
        let state = self.state();
        let machines = state.backends.iter().filter_map(|(id, backend)| Some((*id, backend.machine.clone()?)));
        machines.map(|(id, machine)| (id, machine, state.placed_on(id))).collect()
    }

    /// The agents' heartbeats.
    pub const fn heartbeats(&self) -> &Arc<HeartbeatRegistry> {
        &self.heartbeats
    }

    /// Reserves a place for a new instance on the backend that placement will choose, so that parallel requests on this
    /// replica cannot be promised the same place.
    pub fn reserve(self: &Arc<Self>, instance: InstanceId, demand: &Demand, tie_breaker: u64) -> Reservation {
        let mut state = self.state();
        let candidates = state.candidates(&self.heartbeats, self.overcommit, clock::now());
        let backend = place(&candidates, demand, &[], tie_breaker).ok().map(|choice| choice.backend_id);
        if let Some(backend) = backend {
            state.reserve(backend, instance, demand.resources);
        }
        Reservation { fleet: Arc::clone(self), instance, committed: false, candidates }
    }

    /// The backend of an instance. It looks at each backend.
    pub fn backend_of(&self, instance: InstanceId) -> Option<BackendId> {
        self.state().placed.iter().find(|(_, occupancy)| occupancy.contains(instance)).map(|(id, _)| *id)
    }

    /// One backend.
    pub fn machine(&self, id: BackendId) -> Option<Machine> {
        self.state().backends.get(&id).and_then(|backend| backend.machine.clone())
    }
}

/// A lost backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBackend {
    /// The backend.
    pub id: BackendId,
    /// When it was lost.
    pub since: Timestamp,
    /// The instances that are placed on it, or were and may have a container there, with their owners.
    pub instances: Vec<(UserId, InstanceId)>,
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
