//! The caches of all kinds of aggregates, and which one an event belongs to.

use std::sync::Arc;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::Backend;
use dockhost_domain::claim::Claim;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Tenancy;

use super::cache::{AggregateCache, CacheEntry, CachedState};
use super::snapshots::SnapshotManager;

/// States per kind that a replica keeps; a cold one costs a read of its subject.
const STATES_PER_KIND: u64 = 50_000;

/// The caches of all kinds of aggregates.
pub struct Aggregates {
    accounts: AggregateCache<Account>,
    tenancies: AggregateCache<Tenancy>,
    sessions: AggregateCache<Sessions>,
    backends: AggregateCache<Backend>,
    claims: AggregateCache<Claim>,
    manager: Option<Arc<SnapshotManager>>,
}

/// A kind of aggregate that has a cache here.
pub trait CachedAggregate: Aggregate {
    /// Its cache.
    fn cache(all: &Aggregates) -> &AggregateCache<Self>;
}

macro_rules! cached {
    ($($aggregate:ident => $field:ident),*) => {
        $(impl CachedAggregate for $aggregate {
            fn cache(all: &Aggregates) -> &AggregateCache<Self> {
                &all.$field
            }
        })*
    };
}
cached!(Account => accounts, Tenancy => tenancies, Sessions => sessions, Backend => backends, Claim => claims);

impl Default for Aggregates {
    fn default() -> Self {
        Self {
            accounts: AggregateCache::new(STATES_PER_KIND),
            tenancies: AggregateCache::new(STATES_PER_KIND),
            sessions: AggregateCache::new(STATES_PER_KIND),
            backends: AggregateCache::new(STATES_PER_KIND),
            claims: AggregateCache::new(STATES_PER_KIND),
            manager: None,
        }
    }
}

impl Aggregates {
    /// Empty caches of states that are kept by this manager.
    pub fn with_snapshots(manager: Arc<SnapshotManager>) -> Self {
        Self { manager: Some(manager), ..Self::default() }
    }

    /// Brings the aggregate of an event up to date, if it is cached.
    pub fn observe(&self, recorded: &Arc<RecordedEvent>) {
        match recorded.envelope.aggregate {
            AggregateId::Account(id) => self.observe_one::<Account>(id, recorded),
            AggregateId::Tenancy(id) => self.observe_one::<Tenancy>(id, recorded),
            AggregateId::Session(id) => self.observe_one::<Sessions>(id, recorded),
            AggregateId::Backend(id) => self.observe_one::<Backend>(id, recorded),
            AggregateId::Claim(id) => self.observe_one::<Claim>(id, recorded),
        }
    }

    fn observe_one<A: CachedAggregate>(&self, id: A::Id, recorded: &Arc<RecordedEvent>) {
        if let Some(entry) = A::cache(self).get(id) {
            self.apply(id, &entry, [recorded]);
        }
    }

    /// Applies newer events to an entry, and has its state kept if they have become many.
    pub(super) fn apply<'a, A: CachedAggregate>(
        &self,
        id: A::Id,
        entry: &CacheEntry<A>,
        events: impl IntoIterator<Item = &'a Arc<RecordedEvent>>,
    ) {
        entry.observe(events);
        self.offer_snapshot(id, entry);
    }

    /// Has the state of an entry kept if it is far beyond what was.
    pub(super) fn offer_snapshot<A: CachedAggregate>(&self, id: A::Id, entry: &CacheEntry<A>) {
        if let Some(manager) = &self.manager
            && let Some(cached) = entry.take_for_snapshot(manager.interval())
        {
            manager.offer(id, &cached);
        }
    }

    /// What is kept of an aggregate.
    pub(super) async fn find_snapshot<A: CachedAggregate>(&self, id: A::Id) -> Option<CachedState<A>> {
        self.manager.as_ref()?.find(id).await
    }

    /// Forgets an aggregate that holds an event which can't be read: the next use finds it frozen.
    pub fn forget(&self, aggregate: AggregateId) {
        match aggregate {
            AggregateId::Account(id) => self.accounts.forget(id),
            AggregateId::Tenancy(id) => self.tenancies.forget(id),
            AggregateId::Session(id) => self.sessions.forget(id),
            AggregateId::Backend(id) => self.backends.forget(id),
            AggregateId::Claim(id) => self.claims.forget(id),
        }
    }
}
