//! The aggregate cache: states of aggregates, each with the sequence of its last event.
//!
//! Events arrive from three sources: loads, the follower, and this replica's own appends. Each applies an event only if
//! it is newer than the cached state, and events that arrive during a load are buffered until it is done. So no
//! interleaving skips an event or applies one twice, if a load includes what had arrived before it began.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::{Origin, RecordedEvent};
use dockhost_domain::idempotency::{RecentRequests, Repeat};
use dockhost_domain::ids::EventId;
use dockhost_domain::timestamp::Timestamp;

/// A state and the sequence of the last event in it.
#[derive(Debug)]
pub struct CachedState<A> {
    /// The state.
    pub state: Arc<A>,
    /// The sequence of the last event in it; 0 for none.
    pub sequence: u64,
    /// The events in it.
    events: u64,
    /// The id of the last event in it.
    event: Option<EventId>,
    /// The time of the last event in it; `None` also if it is not known.
    time: Option<Timestamp>,
    /// Events since the state was read from a snapshot or offered for one.
    events_since_snapshot: u32,
    /// The last requests with an `Idempotency-Key` that it has events of; `None` if there are none.
    requests: Option<Arc<RecentRequests>>,
}

impl<A> Clone for CachedState<A> {
    fn clone(&self) -> Self {
        let Self { state, sequence, events, event, time, events_since_snapshot, requests } = self;
        Self {
            state: Arc::clone(state),
            sequence: *sequence,
            events: *events,
            event: *event,
            time: *time,
            events_since_snapshot: *events_since_snapshot,
            requests: requests.clone(),
        }
    }
}

impl<A: Aggregate> CachedState<A> {
    /// The state before the first event.
    pub fn empty() -> Self {
        Self {
            state: Arc::new(A::default()),
            sequence: 0,
            events: 0,
            event: None,
            time: None,
            events_since_snapshot: 0,
            requests: None,
        }
    }

    /// The state in a snapshot, after so many events. A snapshot does not have the time of its last event.
    pub fn from_snapshot(
        (state, requests): (A, Option<RecentRequests>),
        sequence: u64,
        events: u64,
        event: EventId,
    ) -> Self {
        let (state, requests) = (Arc::new(state), requests.map(Arc::new));
        Self { state, sequence, events, event: Some(event), time: None, events_since_snapshot: 0, requests }
    }

    /// The same with the time of its last event.
    pub const fn with_time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// The state after these events.
    pub fn with(mut self, events: &[RecordedEvent]) -> Self {
        events.iter().for_each(|recorded| self.apply(recorded));
        self
    }

    /// The number of events in it.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The id of the last event in it.
    pub const fn event(&self) -> Option<EventId> {
        self.event
    }

    /// The time of the last event in it.
    pub const fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The last requests with an `Idempotency-Key` that it has events of.
    pub const fn requests(&self) -> Option<&Arc<RecentRequests>> {
        self.requests.as_ref()
    }

    /// What a command's request is to the aggregate.
    pub fn repeat_of(&self, origin: &Origin) -> Repeat {
        match (&origin.request, &self.requests) {
            (Some(request), Some(recent)) => recent.find(request),
            _ => Repeat::New,
        }
    }

    /// Applies an event unless the state includes it.
    fn apply(&mut self, recorded: &RecordedEvent) {
        if recorded.sequence > self.sequence
            && let Some(event) = A::event(&recorded.envelope.event)
        {
            Arc::make_mut(&mut self.state).evolve(event, &recorded.envelope.meta);
            if let Some(request) = &recorded.envelope.origin.request {
                Arc::make_mut(self.requests.get_or_insert_default()).record(request, &recorded.envelope.meta);
            }
            self.sequence = recorded.sequence;
            self.events += 1;
            self.event = Some(recorded.envelope.meta.id);
            self.time = Some(recorded.envelope.meta.time);
            self.events_since_snapshot += 1;
        }
    }
}

enum Slot<A> {
    Empty,
    /// Being loaded, with the events that have arrived meanwhile.
    Loading(Vec<Arc<RecordedEvent>>),
    Loaded(CachedState<A>),
}

/// Commands for one aggregate that wait or run at the same time on this replica; a further one is refused as busy.
pub const MAX_COMMANDS_PER_AGGREGATE: usize = 256;

/// The cache entry of one aggregate.
pub struct CacheEntry<A> {
    /// Held by a command from its decision to the reply to its append: one command at a time per aggregate and replica.
    pub command_lock: tokio::sync::Mutex<()>,
    /// Held by a command from its arrival on: so many may wait for the lock.
    pub command_places: tokio::sync::Semaphore,
    /// Held by a load: one at a time.
    pub load_lock: tokio::sync::Mutex<()>,
    slot: Mutex<Slot<A>>,
}

impl<A: Aggregate> CacheEntry<A> {
    fn new() -> Self {
        Self {
            command_lock: tokio::sync::Mutex::default(),
            command_places: tokio::sync::Semaphore::new(MAX_COMMANDS_PER_AGGREGATE),
            load_lock: tokio::sync::Mutex::default(),
            slot: Mutex::new(Slot::Empty),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<A>> {
        // No code panics while it holds this lock; a state would still be complete or absent.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if it is loaded.
    pub fn loaded(&self) -> Option<CachedState<A>> {
        if let Slot::Loaded(cached) = &*self.slot() { Some(cached.clone()) } else { None }
    }

    /// Applies newer events to the state, or buffers them during a load.
    pub fn observe<'a>(&self, events: impl IntoIterator<Item = &'a Arc<RecordedEvent>>) {
        match &mut *self.slot() {
            Slot::Empty => {}
            Slot::Loading(missed) => missed.extend(events.into_iter().cloned()),
            Slot::Loaded(cached) => events.into_iter().for_each(|recorded| cached.apply(recorded)),
        }
    }

    /// The state, if it needs a snapshot: `interval` events have arrived since it was read from one or offered for one.
    /// Resets the count.
    pub fn take_for_snapshot(&self, interval: u32) -> Option<CachedState<A>> {
        match &mut *self.slot() {
            Slot::Loaded(cached) if cached.events_since_snapshot >= interval => {
                cached.events_since_snapshot = 0;
                Some(cached.clone())
            }
            _ => None,
        }
    }

    /// Begins a load: events that arrive from now on are buffered. Dropping the guard before it is finished discards
    /// them.
    pub fn begin_load(&self) -> Load<'_, A> {
        *self.slot() = Slot::Loading(Vec::new());
        Load { entry: self }
    }
}

/// A load under way.
pub struct Load<'a, A: Aggregate> {
    entry: &'a CacheEntry<A>,
}

impl<A: Aggregate> Load<'_, A> {
    /// Caches the loaded state with the buffered events applied.
    pub fn finish(self, mut cached: CachedState<A>) -> CachedState<A> {
        let mut slot = self.entry.slot();
        if let Slot::Loading(missed) = &*slot {
            missed.iter().for_each(|recorded| cached.apply(recorded));
        }
        *slot = Slot::Loaded(cached.clone());
        cached
    }
}

impl<A: Aggregate> Drop for Load<'_, A> {
    fn drop(&mut self) {
        let mut slot = self.entry.slot();
        if matches!(*slot, Slot::Loading(_)) {
            *slot = Slot::Empty;
        }
    }
}

/// The states of one kind of aggregate. The least used are evicted first.
pub struct AggregateCache<A: Aggregate> {
    entries: moka::sync::Cache<A::Id, Arc<CacheEntry<A>>>,
}

impl<A: Aggregate> AggregateCache<A> {
    /// A cache of at most this many aggregates.
    pub fn new(capacity: u64) -> Self {
        Self { entries: moka::sync::Cache::new(capacity) }
    }

    /// The entry of an aggregate, created if there is none.
    pub fn entry(&self, id: A::Id) -> Arc<CacheEntry<A>> {
        self.entries.get_with(id, || Arc::new(CacheEntry::new()))
    }

    /// The entry of an aggregate, if there is one.
    pub fn get(&self, id: A::Id) -> Option<Arc<CacheEntry<A>>> {
        self.entries.get(&id)
    }

    /// Evicts all aggregates.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Evicts one aggregate; the next use loads it.
    pub fn evict(&self, id: A::Id) {
        self.entries.invalidate(&id);
    }
}
