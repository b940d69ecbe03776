//! The log in memory, with the same rules as JetStream and with faults that tests can inject. Nothing is sealed,
//! because nothing leaves the process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::{AggregateId, BARRIER};
use dockhost_domain::timestamp::Timestamp;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof};
use crate::common::clock;

/// The interval of [`Delivery::Idle`] while there is nothing new.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

const FIRST_PAGE_EVENTS: usize = 4;

/// A fault of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another append came first; nothing is stored.
    Conflict,
    /// An earlier append has no outcome yet; nothing is stored.
    InFlight,
    /// The event is stored, but the reply is lost.
    LostAnswer,
    /// The event is not stored, and there is no reply.
    LostRequest,
    /// The log is full.
    Full,
    /// The log is unavailable.
    Unavailable,
}

#[derive(Debug, Clone)]
enum StoredEntry {
    Event(Arc<RecordedEvent>),
    Unreadable { subject: String, why: String, time: Timestamp },
    Barrier,
}

impl StoredEntry {
    fn subject(&self) -> String {
        match self {
            Self::Event(recorded) => recorded.envelope.aggregate.to_string(),
            Self::Unreadable { subject, .. } => subject.clone(),
            Self::Barrier => BARRIER.to_owned(),
        }
    }

    fn delivery(&self, sequence: u64) -> Delivery {
        match self {
            Self::Event(recorded) => Delivery::Event(Arc::clone(recorded)),
            Self::Unreadable { subject, why, .. } => {
                Delivery::Unreadable { sequence, subject: subject.clone(), why: why.clone() }
            }
            Self::Barrier => Delivery::Barrier(sequence),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// The event with sequence `n` is at `n - 1`.
    stored: Vec<StoredEntry>,
    /// The sequences on each subject.
    by_subject: HashMap<String, Vec<u64>>,
    faults: VecDeque<Fault>,
}

impl State {
    fn end(&self) -> u64 {
        self.stored.len() as u64
    }

    /// The entries on a subject after a sequence, in order.
    fn tail<'a>(&'a self, subject: &str, after: u64) -> impl Iterator<Item = (u64, &'a StoredEntry)> {
        let sequences = self.by_subject.get(subject).map_or(&[][..], Vec::as_slice);
        let start = sequences.partition_point(|&sequence| sequence <= after);
        sequences[start..].iter().filter_map(|&sequence| Some((sequence, self.at(sequence)?)))
    }

    fn at(&self, sequence: u64) -> Option<&StoredEntry> {
        self.stored.get(usize::try_from(sequence.checked_sub(1)?).ok()?)
    }

    fn last(&self, subject: &str) -> u64 {
        self.by_subject.get(subject).and_then(|sequences| sequences.last()).copied().unwrap_or(0)
    }

    fn push(&mut self, stored: StoredEntry) -> u64 {
        let subject = stored.subject();
        self.stored.push(stored);
        let end = self.end();
        self.by_subject.entry(subject).or_default().push(end);
        end
    }

    fn append(&mut self, entries: &[Append]) -> Result<u64, AppendError> {
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Conflict) => return Err(AppendError::Conflict),
            Some(Fault::InFlight) => return Err(AppendError::InFlight),
            Some(Fault::Full) => return Err(AppendError::Full),
            Some(Fault::Unavailable) => return Err(AppendError::Unavailable("injected fault".into())),
            Some(Fault::LostRequest) => return Err(AppendError::Unknown("injected fault".into())),
            Some(Fault::LostAnswer) | None => {}
        }
        let Some(last) = entries.last() else { return Err(AppendError::Unavailable("an empty batch".into())) };
        let moved = |entry: &Append| self.last(&entry.envelope.aggregate.to_string()) != entry.expected;
        if entries.iter().any(moved) {
            let subject = last.envelope.aggregate.to_string();
            let own = self.tail(&subject, last.expected).find(
                |(_, stored)| matches!(stored, StoredEntry::Event(recorded) if recorded.envelope.meta.id == last.envelope.meta.id),
            );
            return own.map(|(sequence, _)| sequence).ok_or(AppendError::Conflict);
        }
        for entry in entries {
            let recorded = RecordedEvent { sequence: self.end() + 1, envelope: entry.envelope.clone() };
            self.push(StoredEntry::Event(Arc::new(recorded)));
        }
        match fault {
            Some(Fault::LostAnswer) => Err(AppendError::Unknown("injected fault".into())),
            _ => Ok(self.end()),
        }
    }
}

/// What a reader watches: the end of the log, and whether it is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signal {
    end: u64,
    unavailable: bool,
}

/// The log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    signal: watch::Sender<Signal>,
    incarnation: Incarnation,
    loaded: AtomicUsize,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new("memory")
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(incarnation: &str) -> Self {
        Self {
            state: Arc::default(),
            signal: watch::Sender::new(Signal { end: 0, unavailable: false }),
            incarnation: incarnation.to_owned().into(),
            loaded: AtomicUsize::new(0),
        }
    }

    /// Injects a fault into the next append; several queue up.
    pub fn fail_next(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// Makes the log unavailable or available: while unavailable, requests fail and readers get nothing.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.signal.send_modify(|signal| signal.unavailable = unavailable);
    }

    /// Stores an unreadable message; returns its sequence.
    pub fn put_unreadable(&self, subject: &str, why: &str) -> u64 {
        let (subject, why) = (subject.to_owned(), why.to_owned());
        self.put(StoredEntry::Unreadable { subject, why, time: clock::now() })
    }

    /// Stores a barrier; returns its sequence.
    pub fn put_barrier(&self) -> u64 {
        self.put(StoredEntry::Barrier)
    }

    fn put(&self, stored: StoredEntry) -> u64 {
        let mut state = self.state();
        let end = state.push(stored);
        self.signal.send_modify(|signal| signal.end = end);
        end
    }

    /// The last sequence; 0 if it is empty.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.state().end()
    }

    /// The number of events that loads have read so far.
    #[must_use]
    pub fn events_loaded(&self) -> usize {
        self.loaded.load(Ordering::Relaxed)
    }

    /// All readable events.
    #[must_use]
    pub fn events(&self) -> Vec<RecordedEvent> {
        let readable = |stored: &StoredEntry| match stored {
            StoredEntry::Event(recorded) => Some(RecordedEvent::clone(recorded)),
            StoredEntry::Unreadable { .. } | StoredEntry::Barrier => None,
        };
        self.state().stored.iter().filter_map(readable).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn ensure_available(&self) -> Result<(), LogError> {
        if self.signal.borrow().unavailable { Err(LogError::Unavailable("injected fault".into())) } else { Ok(()) }
    }

    fn store(&self, entries: &[Append]) -> Result<u64, AppendError> {
        if self.signal.borrow().unavailable {
            return Err(AppendError::Unavailable("injected fault".into()));
        }
        let mut state = self.state();
        let outcome = state.append(entries);
        let end = state.end();
        // Sent under the lock, so that the end never decreases.
        self.signal.send_modify(|signal| signal.end = end);
        outcome
    }

    fn read(&self, aggregate: AggregateId, after: u64, most: usize) -> Result<Vec<RecordedEvent>, LogError> {
        self.ensure_available()?;
        let subject = aggregate.to_string();
        let state = self.state();
        let events: Result<Vec<_>, _> = state
            .tail(&subject, after)
            .take(most)
            .map(|(sequence, stored)| match stored {
                StoredEntry::Event(recorded) => Ok(RecordedEvent::clone(recorded)),
                StoredEntry::Barrier => Err(LogError::Unavailable("a barrier on an aggregate's subject".into())),
                StoredEntry::Unreadable { why, .. } => Err(LogError::Frozen { sequence, why: why.clone().into() }),
            })
            .collect();
        self.loaded.fetch_add(events.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
        events
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader {
    state: Arc<Mutex<State>>,
    signal: watch::Receiver<Signal>,
    filter: Filter,
    position: u64,
    target: u64,
    caught_up: bool,
}

impl Reader {
    fn take(&mut self) -> Option<Delivery> {
        let state = Arc::clone(&self.state);
        let state = lock(&state);
        while self.position < state.end() && (self.caught_up || self.position < self.target) {
            self.position += 1;
            let stored = state.at(self.position)?;
            if self.filter.selects(&stored.subject()) {
                return Some(stored.delivery(self.position));
            }
        }
        if self.caught_up {
            return None;
        }
        self.caught_up = true;
        Some(Delivery::CaughtUp)
    }

    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let unavailable = self.signal.borrow_and_update().unavailable;
            if !unavailable && let Some(delivery) = self.take() {
                return Some(delivery);
            }
            match timeout(HEARTBEAT_INTERVAL, self.signal.changed()).await {
                Ok(Ok(())) => {}
                // The log was dropped.
                Ok(Err(_)) => return None,
                Err(_) if unavailable => {}
                Err(_) => return Some(Delivery::Idle),
            }
        }
    }
}

impl EventLog for MemoryLog {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move { self.store(&[entry]) }.boxed()
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move { self.store(&entries) }.boxed()
    }

    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>> {
        async move { self.read(aggregate, after, usize::MAX) }.boxed()
    }

    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>> {
        async move {
            let mut events = self.read(aggregate, 0, FIRST_PAGE_EVENTS + 1)?;
            let complete = events.len() <= FIRST_PAGE_EVENTS;
            events.truncate(FIRST_PAGE_EVENTS);
            Ok(FirstPage { events, complete })
        }
        .boxed()
    }

    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>> {
        async move {
            self.ensure_available()?;
            Ok(self.state().last(&aggregate.to_string()))
        }
        .boxed()
    }

    fn barrier(&self, _: Freshness) -> BoxFuture<'_, Result<Proof, LogError>> {
        async move { self.ensure_available().map(|()| Proof::SingleCopy) }.boxed()
    }

    fn extent(&self, _: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>> {
        async move { Ok(None) }.boxed()
    }

    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>> {
        async move {
            self.ensure_available()?;
            let state = self.state();
            let found = state.at(sequence).filter(|stored| stored.subject() == subject);
            Ok(found.and_then(|stored| match stored {
                StoredEntry::Event(recorded) => Some(recorded.envelope.meta.time),
                StoredEntry::Unreadable { time, .. } => Some(*time),
                StoredEntry::Barrier => None,
            }))
        }
        .boxed()
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        async move {
            self.ensure_available()?;
            let state = self.state();
            let last = state.stored.iter().rposition(|stored| filter.selects(&stored.subject()));
            Ok(last.map_or(0, |index| index as u64 + 1))
        }
        .boxed()
    }

    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery> {
        let reader = Reader {
            state: Arc::clone(&self.state),
            signal: self.signal.subscribe(),
            filter,
            position: after,
            target: self.state().end(),
            caught_up: false,
        };
        futures::stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader))).boxed()
    }

    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }
}
