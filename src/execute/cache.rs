//! The aggregate cache: the states that this replica knows, each with the sequence it stands at.
//!
//! In: events, from three sides (a cold load, the follower, and this replica's own appends), each with its sequence.
//! Out: a state and its sequence. Every side applies an event only if it is newer than what is cached, and an event that
//! passes by while a load is under way is kept until the load is done, so no interleaving skips or doubles one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::ids::EventId;

/// A state, and the sequence of the last event in it (0 for none).
#[derive(Debug)]
pub struct CachedState<A> {
    /// The state.
    pub state: Arc<A>,
    /// The last sequence on its subject that it contains.
    pub sequence: u64,
    /// The id of that event.
    event: Option<EventId>,
    /// Events since a snapshot was read or offered.
    events_since_snapshot: u32,
}

impl<A> Clone for CachedState<A> {
    fn clone(&self) -> Self {
        let Self { state, sequence, event, events_since_snapshot } = self;
        Self {
            state: Arc::clone(state),
            sequence: *sequence,
            event: *event,
            events_since_snapshot: *events_since_snapshot,
        }
    }
}

impl<A: Aggregate> CachedState<A> {
    /// Before the first event.
    pub fn empty() -> Self {
        Self { state: Arc::new(A::default()), sequence: 0, event: None, events_since_snapshot: 0 }
    }

    /// As a snapshot has it.
    pub fn from_snapshot(state: A, sequence: u64, event: EventId) -> Self {
        Self { state: Arc::new(state), sequence, event: Some(event), events_since_snapshot: 0 }
    }

    /// With these events applied.
    pub fn with(mut self, events: &[RecordedEvent]) -> Self {
        events.iter().for_each(|recorded| self.apply(recorded));
        self
    }

    /// The id of the last event in it.
    pub const fn event(&self) -> Option<EventId> {
        self.event
    }

    /// Applies an event unless it is in the state already.
    fn apply(&mut self, recorded: &RecordedEvent) {
        if recorded.sequence > self.sequence
            && let Some(event) = A::event(&recorded.envelope.event)
        {
            Arc::make_mut(&mut self.state).evolve(event, &recorded.envelope.meta);
            self.sequence = recorded.sequence;
            self.event = Some(recorded.envelope.meta.id);
            self.events_since_snapshot += 1;
        }
    }
}

enum Slot<A> {
    Empty,
    /// Being loaded; what passed by meanwhile.
    Loading(Vec<Arc<RecordedEvent>>),
    Loaded(CachedState<A>),
}

/// One aggregate of this replica.
pub struct CacheEntry<A> {
    /// One command at a time per aggregate and replica: whoever decides holds this until the append is answered.
    pub command_lock: tokio::sync::Mutex<()>,
    /// One load at a time.
    pub load_lock: tokio::sync::Mutex<()>,
    slot: Mutex<Slot<A>>,
}

impl<A: Aggregate> CacheEntry<A> {
    fn new() -> Self {
        Self {
            command_lock: tokio::sync::Mutex::default(),
            load_lock: tokio::sync::Mutex::default(),
            slot: Mutex::new(Slot::Empty),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<A>> {
        // Nothing panics while holding it; if something did, a state is still whole or absent.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is cached, if it is loaded.
    pub fn loaded(&self) -> Option<CachedState<A>> {
        if let Slot::Loaded(cached) = &*self.slot() { Some(cached.clone()) } else { None }
    }

    /// Applies newer events to what is cached, or keeps them for the load under way.
    pub fn observe<'a>(&self, events: impl IntoIterator<Item = &'a Arc<RecordedEvent>>) {
        match &mut *self.slot() {
            Slot::Empty => {}
            Slot::Loading(missed) => missed.extend(events.into_iter().cloned()),
            Slot::Loaded(cached) => events.into_iter().for_each(|recorded| cached.apply(recorded)),
        }
    }

    /// What is cached, if so many events have come since a snapshot was read or offered; said once.
    pub fn take_for_snapshot(&self, every: u32) -> Option<CachedState<A>> {
        match &mut *self.slot() {
            Slot::Loaded(cached) if cached.events_since_snapshot >= every => {
                cached.events_since_snapshot = 0;
                Some(cached.clone())
            }
            _ => None,
        }
    }

    /// Begins a load; from here on nothing that passes by is lost. Dropping the guard unfinished forgets the attempt.
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
    /// Holds what was loaded, and what passed by meanwhile.
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

/// The states of one kind of aggregate, the least used forgotten first.
pub struct AggregateCache<A: Aggregate> {
    entries: moka::sync::Cache<A::Id, Arc<CacheEntry<A>>>,
}

impl<A: Aggregate> AggregateCache<A> {
    /// A cache of at most this many aggregates.
    pub fn new(capacity: u64) -> Self {
        Self { entries: moka::sync::Cache::new(capacity) }
    }

    /// The entry of an aggregate, made if need be.
    pub fn entry(&self, id: A::Id) -> Arc<CacheEntry<A>> {
        self.entries.get_with(id, || Arc::new(CacheEntry::new()))
    }

    /// The entry of an aggregate, if there is one.
    pub fn get(&self, id: A::Id) -> Option<Arc<CacheEntry<A>>> {
        self.entries.get(&id)
    }

    /// Forgets one aggregate; the next use loads it anew.
    pub fn forget(&self, id: A::Id) {
        self.entries.invalidate(&id);
    }
}
