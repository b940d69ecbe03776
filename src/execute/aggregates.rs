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

use super::cache::Cache;

/// States per kind that a replica keeps; a cold one costs a read of its subject.
const CAPACITY: u64 = 50_000;

/// The caches of all kinds of aggregates.
pub struct Aggregates {
    accounts: Cache<Account>,
    tenancies: Cache<Tenancy>,
    sessions: Cache<Sessions>,
    backends: Cache<Backend>,
    claims: Cache<Claim>,
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
        }
    }
}

impl Aggregates {
    /// Brings the aggregate of an event up to date, if it is cached.
    pub fn observe(&self, recorded: &Arc<Recorded>) {
        match recorded.envelope.aggregate {
            AggregateId::Account(id) => self.accounts.observe(id, recorded),
            AggregateId::Tenancy(id) => self.tenancies.observe(id, recorded),
            AggregateId::Session(id) => self.sessions.observe(id, recorded),
            AggregateId::Backend(id) => self.backends.observe(id, recorded),
            AggregateId::Claim(id) => self.claims.observe(id, recorded),
        }
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
