//! How long instances ran: a fold of the tenancies' events, by the times of the events. Pure.
//!
//! A placement runs from the event that says that its container runs until the event that says that it no longer does, or
//! that ends the placement. While its backend is lost it counts on, because the log does not say otherwise.

use std::collections::BTreeMap;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::event::Event;
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::{Instance, TenancyEvent};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::Phase;

/// An instance on one of its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stay {
    /// Its owner.
    pub user_id: UserId,
    /// The instance.
    pub instance_id: InstanceId,
    /// The backend.
    pub backend_id: BackendId,
}

/// The usage in a period.
#[derive(Debug)]
pub struct Usage {
    from: Timestamp,
    to: Timestamp,
    /// The instances that are not deleted.
    live: BTreeMap<InstanceId, Followed>,
    millis: BTreeMap<Stay, u64>,
}

#[derive(Debug)]
struct Followed {
    user_id: UserId,
    state: Instance,
    /// Where it runs, and since when.
    running: Option<(BackendId, Timestamp)>,
}

impl Usage {
    /// Nothing yet, of a period that includes `from` but not `to`.
    pub const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, live: BTreeMap::new(), millis: BTreeMap::new() }
    }

    /// Applies an event. The events of a tenancy come in the order of the log, and their times never decrease.
    pub fn fold(&mut self, recorded: &RecordedEvent) {
        let envelope = &recorded.envelope;
        let (Event::Tenancy(event), AggregateId::Tenancy(user_id)) = (&envelope.event, envelope.aggregate) else {
            return;
        };
        let Some(instance_id) = event.instance_id().filter(|_| envelope.meta.time < self.to) else { return };
        let time = envelope.meta.time;
        let mut followed = match (event, self.live.remove(&instance_id)) {
            (TenancyEvent::Requested(requested), None) => {
                let mut state = Instance::requested(requested, &envelope.meta);
                // Nothing personal stays in memory.
                state.erase_personal_values();
                Followed { user_id, state, running: None }
            }
            (event, Some(mut followed)) => {
                followed.state.evolve(event, &envelope.meta);
                followed
            }
            (_, None) => return,
        };
        let now = running_on(&followed.state);
        if now != followed.running.map(|(backend_id, _)| backend_id) {
            self.count(instance_id, &followed, time);
            followed.running = now.map(|backend_id| (backend_id, time));
        }
        if !followed.state.is_deleted() {
            self.live.insert(instance_id, followed);
        }
    }

    /// The milliseconds of each stay that ran in the period; those that still run count until its end.
    pub fn finish(mut self) -> BTreeMap<Stay, u64> {
        for (instance_id, followed) in std::mem::take(&mut self.live) {
            self.count(instance_id, &followed, self.to);
        }
        self.millis
    }

    /// Counts what ran until now, as far as it is in the period.
    fn count(&mut self, instance_id: InstanceId, followed: &Followed, until: Timestamp) {
        let Some((backend_id, since)) = followed.running else { return };
        let ran = until.min(self.to).since(since.max(self.from));
        if !ran.is_zero() {
            let stay = Stay { user_id: followed.user_id, instance_id, backend_id };
            *self.millis.entry(stay).or_default() += u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        }
    }
}

/// The backend on which its container runs.
fn running_on(instance: &Instance) -> Option<BackendId> {
    let placement = instance.current_placement.as_ref()?;
    let observed = placement.last_observation.as_ref()?;
    (observed.observation.phase == Phase::Running).then_some(placement.backend_id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use dockhost_domain::aggregate::Meta;
    use dockhost_domain::envelope::{Actor, Envelope, Origin};
    use dockhost_domain::ids::EventId;
    use dockhost_projections::instances::{InstanceDocument, Instances};
    use dockhost_projections::model::Folded;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::http::testing::golden_events;

    /// The indices of the golden events with which an instance begins to run.
    fn beginning() -> (usize, usize) {
        let requests = TENANCIES.iter().enumerate().filter_map(|(index, (_, event))| match event {
            Event::Tenancy(TenancyEvent::Requested(requested)) => Some((index, requested.instance_id)),
            _ => None,
        });
        let begins_to_run = |event: &Event, id| {
            matches!(event, Event::Tenancy(TenancyEvent::Observed(observed)) if observed.instance_id == id
                && observed.placement == 1 && observed.observation.phase == Phase::Running)
        };
        let mut pairs = requests.filter_map(|(request, id)| {
            Some((request, TENANCIES.iter().position(|(_, event)| begins_to_run(event, id))?))
        });
        pairs.next().expect("golden events of an instance that begins to run")
    }

    /// An instance begins to run; then follow the golden events of tenancies at these indices, each so many seconds after
    /// the one before.
    fn history(steps: &[(usize, i64)]) -> Vec<RecordedEvent> {
        let (mut recorded, mut deleted, mut seconds) = (Vec::new(), BTreeSet::new(), 0);
        let (request, observation) = beginning();
        let steps = [(request, 1), (observation, 1)].into_iter().chain(steps.iter().copied());
        for (sequence, (index, pause)) in (1..).zip(steps) {
            let (aggregate, event) = TENANCIES[index % TENANCIES.len()].clone();
            seconds += pause;
            if let Event::Tenancy(event) = &event {
                match event {
                    TenancyEvent::Requested(requested) => {
                        deleted.remove(&Some(requested.instance_id));
                    }
                    TenancyEvent::Deleted(gone) => {
                        deleted.insert(Some(gone.instance_id));
                    }
                    // Nothing happens to a deleted instance.
                    event if deleted.contains(&event.instance_id()) => continue,
                    _ => {}
                }
            }
            let time = Timestamp::from_millis(seconds * 1000 + 7);
            let id = EventId::from_uuid(Uuid::from_u128(u128::from(sequence)));
            let origin = Origin::new(Actor::System, "test");
            let envelope = Envelope { aggregate, meta: Meta { id, time }, origin, event };
            recorded.push(RecordedEvent { sequence, envelope });
        }
        recorded
    }

    static TENANCIES: LazyLock<Vec<(AggregateId, Event)>> = LazyLock::new(|| {
        let is_of_tenancy = |(subject, _): &(AggregateId, Event)| matches!(subject, AggregateId::Tenancy(_));
        golden_events().into_iter().filter(is_of_tenancy).collect()
    });

    /// Where an instance's container runs by its document in the read model.
    fn running_by_document(document: &InstanceDocument) -> Option<Stay> {
        let is_running = document.state.last_observation().is_some_and(|last| last.observation.phase == Phase::Running);
        let backend_id = document.backend_id.filter(|_| is_running)?;
        Some(Stay { user_id: document.user_id, instance_id: document.instance_id, backend_id })
    }

    /// The same by another way: between each two moments at which anything may change, the documents say what runs.
    fn recomputed(history: &[RecordedEvent], from: Timestamp, to: Timestamp) -> BTreeMap<Stay, u64> {
        let times = history.iter().map(|recorded| recorded.envelope.meta.time);
        let moments: BTreeSet<_> = times.chain([from, to]).filter(|time| (from..=to).contains(time)).collect();
        let moments: Vec<_> = moments.into_iter().collect();
        let mut millis = BTreeMap::new();
        for pair in moments.windows(2) {
            let mut documents = Folded::<Instances>::default();
            let mut ids = BTreeSet::new();
            for recorded in history.iter().filter(|recorded| recorded.envelope.meta.time <= pair[0]) {
                ids.extend(documents.fold(recorded));
            }
            for stay in ids.into_iter().filter_map(|id| running_by_document(documents.get(id)?)) {
                *millis.entry(stay).or_default() += u64::try_from(pair[1].since(pair[0]).as_millis()).unwrap();
            }
        }
        millis
    }

    fn of_period(history: &[RecordedEvent], from: Timestamp, to: Timestamp) -> BTreeMap<Stay, u64> {
        let mut usage = Usage::new(from, to);
        history.iter().for_each(|recorded| usage.fold(recorded));
        usage.finish()
    }

    proptest! {
        #[test]
        fn usage_is_what_the_documents_say_between_each_two_events(
            steps in proptest::collection::vec((0_usize..10_000, prop_oneof![Just(0), Just(1), Just(3600)]), 0..60),
            from in 0_i64..50_000_000,
            length in 0_i64..100_000_000,
        ) {
            let history = history(&steps);
            let (from, to) = (Timestamp::from_millis(from), Timestamp::from_millis(from + length));
            prop_assert_eq!(of_period(&history, from, to), recomputed(&history, from, to));
        }
    }

    /// So that the test above compares something.
    #[test]
    fn usage_of_golden_events_in_any_order_is_never_empty() {
        let steps = |seed: usize| (0..60).map(|step| ((seed + 1) * (step * step + 7 * step), 1)).collect::<Vec<_>>();
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(1_000_000));
        for seed in 0..50 {
            assert!(!of_period(&history(&steps(seed)), from, to).is_empty(), "{seed}");
        }
    }
}
