//! The feed: the last entries of the log, for those who are told of changes as they happen.
//!
//! The follower pushes each entry once, however many subscribers there are. An entry is held back until the read models
//! have it; one task waits for that, for all subscribers. A subscriber gets the entries of one principal, or all of them. If
//! it takes them too slowly its subscription ends, and it must be told that it misses some.
//!
//! - [`ring`]: the last entries, and which of them may be shown. [`hold`]: when an entry may be shown.

mod hold;
mod ring;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::ids::PrincipalId;
use dockhost_projections::LogEntry;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::ring::{Resume, Ring};
use super::projection_progress::ProjectionProgress;
use crate::common::log_throttle::LogThrottle;
use crate::event_log::Filter;

/// Entries that are kept: seconds of a busy log, so that a client that changes the replica rarely needs the log itself.
/// Each takes about a kilobyte.
const CAPACITY: usize = 16_384;
/// Entries that may wait for one subscriber.
const QUEUE: usize = 256;
/// How long the task waits for one entry to reach the read models before it looks at what is held back again.
const WAIT: Duration = Duration::from_secs(1);

/// Whose entries a subscriber gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// All entries.
    All,
    /// Those of all aggregates of one user or backend.
    Of(PrincipalId),
}

impl Audience {
    /// The same entries in the log.
    #[must_use]
    pub const fn filter(self) -> Filter {
        match self {
            Self::All => Filter::All,
            Self::Of(principal) => Filter::Owner(principal.uuid()),
        }
    }

    fn has(self, entry: &LogEntry) -> bool {
        self == Self::All || self == Self::of(entry)
    }

    /// Those who get this entry, beside those who get all.
    fn of(entry: &LogEntry) -> Self {
        hold::aggregate(entry).and_then(|aggregate| aggregate.sealed_under()).map_or(Self::All, Self::Of)
    }
}

/// What follows a position.
#[derive(Debug)]
pub enum Next {
    /// These entries; after this position there are more.
    Page(Vec<LogEntry>, u64),
    /// These entries are all up to this position; what comes later arrives at the subscription.
    Live(Vec<LogEntry>, u64, Subscription),
    /// The log must be read up to this position first.
    InLog(u64),
}

/// The last entries of the log, and who is told of new ones.
pub struct Feed {
    state: Mutex<State>,
    pushed: Notify,
    log: LogThrottle,
}

struct State {
    ring: Ring,
    subscribers: HashMap<Audience, Vec<Subscriber>>,
    next_id: u64,
}

struct Subscriber {
    id: u64,
    queue: mpsc::Sender<LogEntry>,
}

/// The entries of an audience as they are released; ends on drop.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<Feed>,
    audience: Audience,
    id: u64,
    queue: mpsc::Receiver<LogEntry>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Feed {
    fn with_capacity(capacity: usize) -> Self {
        let state = State { ring: Ring::new(capacity), subscribers: HashMap::new(), next_id: 0 };
        Self { state: Mutex::new(state), pushed: Notify::new(), log: LogThrottle::per_minute() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log is followed from this position on.
    pub fn begin(&self, after: u64) {
        self.state().ring.begin(after);
    }

    /// Adds the next entry of the log.
    pub fn push(&self, entry: LogEntry) {
        let mut state = self.state();
        if !state.ring.push(entry) {
            // Nobody can be told of what was dropped, so that everybody must be told that it was.
            state.subscribers.clear();
            if let Some(suppressed) = self.log.permit() {
                tracing::warn!(
                    suppressed,
                    "the read models are far behind; clients that watch events are told to fetch their state again"
                );
            }
        }
        drop(state);
        self.pushed.notify_one();
    }

    /// The log has no entry between the last one and this position.
    pub fn advance(&self, position: u64) {
        self.state().ring.advance(position);
    }

    /// The position up to which subscribers are told of entries.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.state().ring.released()
    }

    /// Releases entries as the read models get them, until cancelled.
    pub async fn run(self: Arc<Self>, progress: Arc<ProjectionProgress>, cancel: CancellationToken) {
        let release = async {
            loop {
                let held = self.state().ring.held().next().cloned();
                match held {
                    Some(entry) => hold::wait_for_models(&progress, &entry, WAIT).await,
                    None => self.pushed.notified().await,
                }
                self.release(|entry| hold::is_in_models(&progress, entry));
            }
        };
        cancel.run_until_cancelled(release).await;
    }

    fn release(&self, may_be_shown: impl Fn(&LogEntry) -> bool) {
        let mut state = self.state();
        for entry in state.ring.release(may_be_shown) {
            state.tell(Audience::All, &entry);
            match Audience::of(&entry) {
                Audience::All => {}
                one => state.tell(one, &entry),
            }
        }
    }

    /// What follows a position: at most `most` entries at a time, and a subscription with the last of them.
    #[must_use]
    pub fn next(self: &Arc<Self>, audience: Audience, after: u64, most: usize) -> Next {
        let mut state = self.state();
        match state.ring.resume(after, most, |entry| audience.has(entry)) {
            Resume::InLog(to) => Next::InLog(to),
            Resume::Here(entries, position) if position < state.ring.released() => Next::Page(entries, position),
            Resume::Here(entries, position) => {
                let (sender, queue) = mpsc::channel(QUEUE);
                let id = state.next_id;
                state.next_id += 1;
                state.subscribers.entry(audience).or_default().push(Subscriber { id, queue: sender });
                drop(state);
                Next::Live(entries, position, Subscription { feed: Arc::clone(self), audience, id, queue })
            }
        }
    }
}

impl State {
    /// Tells an audience of an entry. Whoever has too many waiting gets those, and then the end of the subscription.
    fn tell(&mut self, audience: Audience, entry: &LogEntry) {
        if let Some(subscribers) = self.subscribers.get_mut(&audience) {
            subscribers.retain(|subscriber| subscriber.queue.try_send(entry.clone()).is_ok());
            if subscribers.is_empty() {
                self.subscribers.remove(&audience);
            }
        }
    }
}

impl Subscription {
    /// Waits for entries and adds them to `entries`, at most `most`. Adds none if some were left out because the subscriber
    /// was too slow: the subscription has ended.
    pub async fn wait(&mut self, entries: &mut Vec<LogEntry>, most: usize) {
        self.queue.recv_many(entries, most).await;
    }

    /// The position up to which the subscriber has taken all entries; none if some wait.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        // Entries are added under the lock.
        let state = self.feed.state();
        (self.queue.is_empty() && !self.queue.is_closed()).then(|| state.ring.released())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.feed.state();
        if let Some(subscribers) = state.subscribers.get_mut(&self.audience) {
            subscribers.retain(|subscriber| subscriber.id != self.id);
            if subscribers.is_empty() {
                state.subscribers.remove(&self.audience);
            }
        }
    }
}

#[cfg(test)]
mod tests;
