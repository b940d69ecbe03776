//! The aggregate cache: the states that this replica knows, each with the sequence it stands at.
//!
//! In: events, from three sides (a cold load, the follower, and this replica's own appends), each with its sequence.
//! Out: a state and its sequence. Every side applies an event only if it is newer than what is held, and an event that
//! passes by while a load is under way is kept until the load is done, so no interleaving skips or doubles one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::envelope::Recorded;
use dockhost_domain::ids::EventId;

/// A state, and the sequence of the last event in it (0 for none).
#[derive(Debug)]
pub struct Held<A> {
    /// The state.
    pub state: Arc<A>,
    /// The last sequence on its subject that it contains.
    pub sequence: u64,
    /// The id of that event.
    event: Option<EventId>,
    /// Events since a snapshot was read or offered.
    unkept: u32,
}

impl<A> Clone for Held<A> {
    fn clone(&self) -> Self {
        let Self { state, sequence, event, unkept } = self;
        Self { state: Arc::clone(state), sequence: *sequence, event: *event, unkept: *unkept }
    }
}

impl<A: Aggregate> Held<A> {
    /// Before the first event.
    pub fn empty() -> Self {
        Self { state: Arc::new(A::default()), sequence: 0, event: None, unkept: 0 }
    }

    /// As a snapshot has it.
    pub fn kept(state: A, sequence: u64, event: EventId) -> Self {
        Self { state: Arc::new(state), sequence, event: Some(event), unkept: 0 }
    }

    /// With these events applied.
    pub fn with(mut self, events: &[Recorded]) -> Self {
        events.iter().for_each(|recorded| self.apply(recorded));
        self
    }

    /// The id of the last event in it.
    pub const fn event(&self) -> Option<EventId> {
        self.event
    }

    /// Applies an event unless it is in the state already.
    fn apply(&mut self, recorded: &Recorded) {
        if recorded.sequence > self.sequence
            && let Some(event) = A::event(&recorded.envelope.event)
        {
            Arc::make_mut(&mut self.state).evolve(event, &recorded.envelope.meta);
            self.sequence = recorded.sequence;
            self.event = Some(recorded.envelope.meta.id);
            self.unkept += 1;
        }
    }
}

enum Slot<A> {
    Empty,
    /// Being loaded; what passed by meanwhile.
    Loading(Vec<Arc<Recorded>>),
    Held(Held<A>),
}

/// One aggregate of this replica.
pub struct Entry<A> {
    /// One command at a time per aggregate and replica: whoever decides holds this until the append is answered.
    pub turn: tokio::sync::Mutex<()>,
    /// One load at a time.
    pub loading: tokio::sync::Mutex<()>,
    slot: Mutex<Slot<A>>,
}

impl<A: Aggregate> Entry<A> {
    fn new() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            slot: Mutex::new(Slot::Empty),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<A>> {
        // Nothing panics while holding it; if something did, a state is still whole or absent.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held, if it is loaded.
    pub fn held(&self) -> Option<Held<A>> {
        if let Slot::Held(held) = &*self.slot() { Some(held.clone()) } else { None }
    }

    /// Applies newer events to what is held, or keeps them for the load under way.
    pub fn observe<'a>(&self, events: impl IntoIterator<Item = &'a Arc<Recorded>>) {
        match &mut *self.slot() {
            Slot::Empty => {}
            Slot::Loading(missed) => missed.extend(events.into_iter().cloned()),
            Slot::Held(held) => events.into_iter().for_each(|recorded| held.apply(recorded)),
        }
    }

    /// What is held, if so many events have come since a snapshot was read or offered; said once.
    pub fn worth_keeping(&self, every: u32) -> Option<Held<A>> {
        match &mut *self.slot() {
            Slot::Held(held) if held.unkept >= every => {
                held.unkept = 0;
                Some(held.clone())
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
    entry: &'a Entry<A>,
}

impl<A: Aggregate> Load<'_, A> {
    /// Holds what was loaded, and what passed by meanwhile.
    pub fn finish(self, mut held: Held<A>) -> Held<A> {
        let mut slot = self.entry.slot();
        if let Slot::Loading(missed) = &*slot {
            missed.iter().for_each(|recorded| held.apply(recorded));
        }
        *slot = Slot::Held(held.clone());
        held
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
pub struct Cache<A: Aggregate> {
    entries: moka::sync::Cache<A::Id, Arc<Entry<A>>>,
}

impl<A: Aggregate> Cache<A> {
    /// A cache of at most this many aggregates.
    pub fn new(capacity: u64) -> Self {
        Self { entries: moka::sync::Cache::new(capacity) }
    }

    /// The entry of an aggregate, made if need be.
    pub fn entry(&self, id: A::Id) -> Arc<Entry<A>> {
        self.entries.get_with(id, || Arc::new(Entry::new()))
    }

    /// The entry of an aggregate, if there is one.
    pub fn existing(&self, id: A::Id) -> Option<Arc<Entry<A>>> {
        self.entries.get(&id)
    }

    /// Forgets one aggregate; the next use loads it anew.
    pub fn forget(&self, id: A::Id) {
        self.entries.invalidate(&id);
    }
}
