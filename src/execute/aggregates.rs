//! The caches of all kinds of aggregates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use dockhost_domain::account::Account;
use dockhost_domain::administrators::Administrators;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::backend::Backend;
use dockhost_domain::claim::Claim;
use dockhost_domain::enrolment::EnrolmentTokens;
use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::group::Groups;
use dockhost_domain::invitation::Invitations;
use dockhost_domain::refusal::Refusals;
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::webhook::Webhooks;

use super::cache::{AggregateCache, CacheEntry, CachedState, Load};
use super::snapshots::SnapshotManager;

const MAX_STATES_PER_KIND: u64 = 50_000;

/// The caches of all kinds of aggregates.
pub struct Aggregates {
    accounts: AggregateCache<Account>,
    administrators: AggregateCache<Administrators>,
    tenancies: AggregateCache<Tenancy>,
    sessions: AggregateCache<Sessions>,
    backends: AggregateCache<Backend>,
    enrolment_tokens: AggregateCache<EnrolmentTokens>,
    invitations: AggregateCache<Invitations>,
    groups: AggregateCache<Groups>,
    refusals: AggregateCache<Refusals>,
    webhooks: AggregateCache<Webhooks>,
    claims: AggregateCache<Claim>,
    snapshots: Option<Arc<SnapshotManager>>,
    /// The last sequence that [`Aggregates::observe`] was given: a load that begins now gets no event up to it again.
    observed: AtomicU64,
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
cached!(
    Account => accounts, Administrators => administrators, Tenancy => tenancies, Sessions => sessions,
    Backend => backends, EnrolmentTokens => enrolment_tokens, Invitations => invitations,
    Groups => groups, Refusals => refusals, Webhooks => webhooks, Claim => claims
);

impl Default for Aggregates {
    fn default() -> Self {
        Self {
            accounts: AggregateCache::new(MAX_STATES_PER_KIND),
            administrators: AggregateCache::new(1),
            tenancies: AggregateCache::new(MAX_STATES_PER_KIND),
            sessions: AggregateCache::new(MAX_STATES_PER_KIND),
            backends: AggregateCache::new(MAX_STATES_PER_KIND),
            enrolment_tokens: AggregateCache::new(1),
            invitations: AggregateCache::new(1),
            groups: AggregateCache::new(1),
            refusals: AggregateCache::new(1),
            webhooks: AggregateCache::new(MAX_STATES_PER_KIND),
            claims: AggregateCache::new(MAX_STATES_PER_KIND),
            snapshots: None,
            observed: AtomicU64::new(0),
        }
    }
}

impl Aggregates {
    /// Empty caches that load from and write snapshots.
    pub fn with_snapshots(snapshots: Arc<SnapshotManager>) -> Self {
        Self { snapshots: Some(snapshots), ..Self::default() }
    }

    /// The log is followed from this sequence on: what was cached before may lack earlier events.
    pub fn begin(&self, sequence: u64) {
        self.note(sequence);
        self.accounts.clear();
        self.administrators.clear();
        self.tenancies.clear();
        self.sessions.clear();
        self.backends.clear();
        self.enrolment_tokens.clear();
        self.invitations.clear();
        self.groups.clear();
        self.refusals.clear();
        self.webhooks.clear();
        self.claims.clear();
    }

    fn note(&self, sequence: u64) {
        self.observed.fetch_max(sequence, Ordering::SeqCst);
        // Before the look-up that follows: either it finds the entry of a load, or that load finds this sequence.
        fence(Ordering::SeqCst);
    }

    /// Begins a load; also returns the sequence up to which the load gets nothing from [`Aggregates::observe`].
    pub(super) fn begin_load<'a, A: CachedAggregate>(&self, entry: &'a CacheEntry<A>) -> (Load<'a, A>, u64) {
        let load = entry.begin_load();
        fence(Ordering::SeqCst);
        (load, self.observed.load(Ordering::SeqCst))
    }

    /// Applies an event to its aggregate, if that is cached.
    pub fn observe(&self, recorded: &Arc<RecordedEvent>) {
        self.note(recorded.sequence);
        match recorded.envelope.aggregate {
            AggregateId::Account(id) => self.observe_one::<Account>(id, recorded),
            AggregateId::Administrators(id) => self.observe_one::<Administrators>(id, recorded),
            AggregateId::Tenancy(id) => self.observe_one::<Tenancy>(id, recorded),
            AggregateId::Session(id) => self.observe_one::<Sessions>(id, recorded),
            AggregateId::Backend(id) => self.observe_one::<Backend>(id, recorded),
            AggregateId::EnrolmentTokens(id) => self.observe_one::<EnrolmentTokens>(id, recorded),
            AggregateId::Invitations(id) => self.observe_one::<Invitations>(id, recorded),
            AggregateId::Groups(id) => self.observe_one::<Groups>(id, recorded),
            AggregateId::Refusals(id) => self.observe_one::<Refusals>(id, recorded),
            AggregateId::Webhooks(id) => self.observe_one::<Webhooks>(id, recorded),
            AggregateId::Claim(id) => self.observe_one::<Claim>(id, recorded),
        }
    }

    fn observe_one<A: CachedAggregate>(&self, id: A::Id, recorded: &Arc<RecordedEvent>) {
        if let Some(entry) = A::cache(self).get(id) {
            self.apply(id, &entry, [recorded]);
        }
    }

    /// Applies newer events to an entry, and offers its state for a snapshot if it needs one.
    pub(super) fn apply<'a, A: CachedAggregate>(
        &self,
        id: A::Id,
        entry: &CacheEntry<A>,
        events: impl IntoIterator<Item = &'a Arc<RecordedEvent>>,
    ) {
        entry.observe(events);
        self.offer_snapshot(id, entry);
    }

    /// Offers the state of an entry for a snapshot if it needs one.
    pub(super) fn offer_snapshot<A: CachedAggregate>(&self, id: A::Id, entry: &CacheEntry<A>) {
        if let Some(snapshots) = &self.snapshots
            && let Some(cached) = entry.take_for_snapshot(snapshots.interval())
        {
            snapshots.offer(id, &cached);
        }
    }

    /// The state in the aggregate's snapshot.
    pub(super) async fn find_snapshot<A: CachedAggregate>(&self, id: A::Id) -> Option<CachedState<A>> {
        self.snapshots.as_ref()?.find(id).await
    }

    /// Evicts an aggregate. If it has an unreadable event, the next use finds it frozen.
    pub fn evict(&self, aggregate: AggregateId) {
        match aggregate {
            AggregateId::Account(id) => self.accounts.evict(id),
            AggregateId::Administrators(id) => self.administrators.evict(id),
            AggregateId::Tenancy(id) => self.tenancies.evict(id),
            AggregateId::Session(id) => self.sessions.evict(id),
            AggregateId::Backend(id) => self.backends.evict(id),
            AggregateId::EnrolmentTokens(id) => self.enrolment_tokens.evict(id),
            AggregateId::Invitations(id) => self.invitations.evict(id),
            AggregateId::Groups(id) => self.groups.evict(id),
            AggregateId::Refusals(id) => self.refusals.evict(id),
            AggregateId::Webhooks(id) => self.webhooks.evict(id),
            AggregateId::Claim(id) => self.claims.evict(id),
        }
    }
}
