//! The caches of all kinds of aggregates, and which one an event belongs to.

use std::sync::Arc;

use dockhost_domain::account::Account;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::Backend;
use dockhost_domain::claim::Claim;
use dockhost_domain::envelope::Recorded;
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Tenancy;

use super::cache::{Cache, Entry, Held};
use super::snapshots::Keeper;

/// States per kind that a replica keeps; a cold one costs a read of its subject.
const CAPACITY: u64 = 50_000;

/// The caches of all kinds of aggregates.
pub struct Aggregates {
    accounts: Cache<Account>,
    tenancies: Cache<Tenancy>,
    sessions: Cache<Sessions>,
    backends: Cache<Backend>,
    claims: Cache<Claim>,
    keeper: Option<Arc<Keeper>>,
}

/// A kind of aggregate that has a cache here.
pub trait Cached: Aggregate {
    /// Its cache.
    fn cache(all: &Aggregates) -> &Cache<Self>;
}

macro_rules! cached {
    ($($aggregate:ident => $field:ident),*) => {
        $(impl Cached for $aggregate {
            fn cache(all: &Aggregates) -> &Cache<Self> {
                &all.$field
            }
        })*
    };
}
cached!(Account => accounts, Tenancy => tenancies, Sessions => sessions, Backend => backends, Claim => claims);

impl Default for Aggregates {
    fn default() -> Self {
        Self {
            accounts: Cache::new(CAPACITY),
            tenancies: Cache::new(CAPACITY),
            sessions: Cache::new(CAPACITY),
            backends: Cache::new(CAPACITY),
            claims: Cache::new(CAPACITY),
            keeper: None,
        }
    }
}

impl Aggregates {
    /// Empty caches of states that are kept by this keeper.
    pub fn kept_by(keeper: Arc<Keeper>) -> Self {
        Self { keeper: Some(keeper), ..Self::default() }
    }

    /// Brings the aggregate of an event up to date, if it is cached.
    pub fn observe(&self, recorded: &Arc<Recorded>) {
        match recorded.envelope.aggregate {
            AggregateId::Account(id) => self.tell::<Account>(id, recorded),
            AggregateId::Tenancy(id) => self.tell::<Tenancy>(id, recorded),
            AggregateId::Session(id) => self.tell::<Sessions>(id, recorded),
            AggregateId::Backend(id) => self.tell::<Backend>(id, recorded),
            AggregateId::Claim(id) => self.tell::<Claim>(id, recorded),
        }
    }

    fn tell<A: Cached>(&self, id: A::Id, recorded: &Arc<Recorded>) {
        if let Some(entry) = A::cache(self).existing(id) {
            self.apply(id, &entry, [recorded]);
        }
    }

    /// Applies newer events to an entry, and has its state kept if they have become many.
    pub(super) fn apply<'a, A: Cached>(
        &self,
        id: A::Id,
        entry: &Entry<A>,
        events: impl IntoIterator<Item = &'a Arc<Recorded>>,
    ) {
        entry.observe(events);
        self.keep(id, entry);
    }

    /// Has the state of an entry kept if it is far beyond what was.
    pub(super) fn keep<A: Cached>(&self, id: A::Id, entry: &Entry<A>) {
        if let Some(keeper) = &self.keeper
            && let Some(held) = entry.worth_keeping(keeper.every())
        {
            keeper.offer(id, &held);
        }
    }

    /// What is kept of an aggregate.
    pub(super) async fn kept<A: Cached>(&self, id: A::Id) -> Option<Held<A>> {
        self.keeper.as_ref()?.find(id).await
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
