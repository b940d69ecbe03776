//! The follower: reads the log in order, once per replica.
//!
//! In: every event, and the broker's idle heartbeats. Out: current aggregate caches, the fleet, the
//! replica's position in the log ([`Applied`](crate::execute::Applied)), notifications for tasks that wait for an
//! aggregate, the [`Feed`] for those who are told of changes, and a count of the operations. After a few seconds without contact the replica is not live, because it may have missed a revocation.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use dockhost_domain::backend::ConnectionState;
use dockhost_domain::envelope::{Envelope, RecordedEvent};
use dockhost_domain::event::Event;
use dockhost_domain::refusal::RefusalsEvent;
use dockhost_domain::room::Overcommit;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::OperationKind;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::{LogEntry, Quarantine, Unreadable};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::heartbeat_registry::HeartbeatRegistry;
use super::refusal_trend::{RefusalTrend, RefusedSignIns};
use super::standstill::{Standstill, Standstills};
use crate::event_log::{Delivery, Filter};
use crate::execute::Executor;
use crate::metrics::Metrics;

pub use super::facts::tie_breaker;
pub use super::fleet::{Fleet, Reservation};
pub use super::watchers::{Watcher, Watchers};

/// This replica's view of the log.
pub struct Follower {
    executor: Arc<Executor>,
    fleet: Arc<Fleet>,
    watchers: Watchers,
    feed: Arc<Feed>,
    standstills: Standstills,
    refusals: RefusalTrend,
    metrics: Arc<Metrics>,
    last_sequences: Mutex<BTreeMap<&'static str, u64>>,
    frozen: Mutex<Quarantine>,
}

impl Follower {
    /// A follower that has read nothing yet, with the default overcommit, and metrics that nobody reads.
    pub fn new(executor: Arc<Executor>, heartbeats: Arc<HeartbeatRegistry>) -> Arc<Self> {
        Self::with(executor, heartbeats, Overcommit::default(), Arc::default())
    }

    /// A follower that has read nothing yet.
    pub fn with(
        executor: Arc<Executor>,
        heartbeats: Arc<HeartbeatRegistry>,
        overcommit: Overcommit,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            executor,
            fleet: Arc::new(Fleet::new(heartbeats, overcommit)),
            watchers: Watchers::default(),
            feed: Arc::default(),
            standstills: Standstills::default(),
            refusals: RefusalTrend::default(),
            metrics,
            last_sequences: Mutex::default(),
            frozen: Mutex::default(),
        })
    }

    /// Loads the aggregates.
    pub const fn executor(&self) -> &Arc<Executor> {
        &self.executor
    }

    /// The fleet.
    pub const fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// The last entries of the log.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The connected machines that carry out nothing, or late, although commands wait for them; `None` if there is none.
    pub fn standstill(&self) -> Option<Standstill> {
        let is_connected = |backend| {
            self.fleet.machine(backend).is_some_and(|machine| machine.connection == ConnectionState::Connected)
        };
        self.standstills.late(is_connected)
    }

    /// The sign-ins that all replicas refused lately, as far as this one has read the log.
    pub fn refused_sign_ins(&self, now: Timestamp) -> RefusedSignIns {
        self.refusals.at(now)
    }

    /// Watches an aggregate for changes. Call it before reading the aggregate's state.
    pub fn watch(&self, aggregate: AggregateId) -> Watcher<'_> {
        self.watchers.watch(aggregate)
    }

    /// The last sequence that this replica has applied.
    pub fn position(&self) -> u64 {
        self.executor.applied().sequence()
    }

    /// Whether this replica has caught up once and had contact with the log within the last seconds.
    pub fn is_live(&self) -> bool {
        self.executor.applied().is_live()
    }

    /// Waits until the follower has caught up for the first time.
    pub async fn wait_until_caught_up(&self) {
        self.executor.applied().wait_until_caught_up().await;
    }

    /// Waits until this replica has applied a sequence.
    pub async fn wait_until_applied(&self, sequence: u64) {
        self.executor.applied().wait_until(sequence).await;
    }

    /// The last sequence of one aggregate kind that this replica has seen.
    pub fn last_sequence_of(&self, kind: &str) -> u64 {
        self.last_sequences.lock().unwrap_or_else(PoisonError::into_inner).get(kind).copied().unwrap_or(0)
    }

    /// Reads the log after a sequence, until cancelled. `last_sequences` has the last earlier sequence of each kind.
    pub async fn run(
        self: Arc<Self>,
        after: u64,
        last_sequences: BTreeMap<&'static str, u64>,
        cancel: CancellationToken,
    ) {
        *self.last_sequences.lock().unwrap_or_else(PoisonError::into_inner) = last_sequences;
        let applied = self.executor.applied();
        self.executor.aggregates().begin(after);
        applied.begin(after);
        self.feed.begin(after);
        let mut events = self.executor.log().follow(after, Filter::All);
        while let Some(Some(delivery)) = cancel.run_until_cancelled(events.next()).await {
            match delivery {
                Delivery::Event(recorded) => {
                    self.observe(&recorded);
                    self.feed.push(LogEntry::Event(recorded));
                }
                Delivery::Unreadable { sequence, subject, why } => {
                    let unreadable = Unreadable::new(subject, sequence, &why);
                    self.freeze(unreadable.clone());
                    applied.advance(sequence);
                    self.feed.push(LogEntry::Unreadable(unreadable));
                }
                Delivery::Barrier(sequence) => {
                    applied.advance(sequence);
                    self.feed.advance(sequence);
                }
                Delivery::CaughtUp => applied.catch_up(),
                Delivery::Idle => applied.touch(),
            }
        }
    }

    /// Handles an event that this version can't read: drops the cached aggregate, so that the next load finds it
    /// frozen. Logs the first such event of each aggregate.
    pub fn freeze(&self, unreadable: Unreadable) {
        if let Ok(aggregate) = unreadable.subject.parse::<AggregateId>() {
            self.executor.aggregates().evict(aggregate);
            self.watchers.notify(&aggregate);
        }
        let Unreadable { subject, sequence, why } = unreadable.clone();
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if frozen.get(&subject).is_none() && frozen.add(unreadable).is_ok() {
            tracing::error!(sequence, subject, why, "unreadable event; its aggregate is frozen on this replica");
        }
    }

    /// The aggregates with an unreadable event since this replica started, up to the quarantine's capacity.
    pub fn frozen(&self) -> Quarantine {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What waits for machines since this replica has caught up.
    fn observe_standstills(&self, envelope: &Envelope) {
        let backend_of = |instance| self.is_live().then(|| self.fleet.backend_of(instance)).flatten();
        self.standstills.observe(envelope, backend_of);
    }

    fn observe(&self, recorded: &Arc<RecordedEvent>) {
        let aggregate = recorded.envelope.aggregate;
        let applied = catch_unwind(AssertUnwindSafe(|| {
            self.executor.aggregates().observe(recorded);
            self.fleet.observe(recorded);
            self.observe_standstills(&recorded.envelope);
            if let Event::Refusals(RefusalsEvent::Counted(counted)) = &recorded.envelope.event {
                self.refusals.observe(counted);
            }
        }));
        if applied.is_err() {
            self.freeze(Unreadable::new(aggregate.to_string(), recorded.sequence, "applying the event panicked"));
        }
        if let Event::Tenancy(event) = &recorded.envelope.event
            && let Some(kind) = OperationKind::begun_by(event)
        {
            self.metrics.log.record_operation(kind.as_str());
        }
        self.last_sequences.lock().unwrap_or_else(PoisonError::into_inner).insert(aggregate.kind(), recorded.sequence);
        self.executor.applied().advance(recorded.sequence);
        self.watchers.notify(&aggregate);
    }
}
