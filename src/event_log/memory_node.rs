//! One node of a cluster, with its own copy of a log in memory: the copy can stay behind, and the node can lose the
//! quorum and not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dockhost_domain::envelope::RecordedEvent;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::timestamp::Timestamp;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::barrier::{Barriers, Failure};
use super::memory::MemoryLog;
use super::{Append, AppendError, Delivery, EventLog, Extent, Filter, FirstPage, Freshness, LogError, Proof};

/// A node that answers as if it led the log.
pub struct MemoryNode {
    log: Arc<MemoryLog>,
    /// The last sequence in its copy; `u64::MAX` for all.
    copy_end: AtomicU64,
    /// The last sequence that readers get; `u64::MAX` for all.
    deliver_to: watch::Sender<u64>,
    has_quorum: Arc<AtomicBool>,
    barriers: Arc<Barriers>,
    published: Arc<AtomicU64>,
}

impl MemoryNode {
    /// A node that is up to date.
    pub fn of(log: &Arc<MemoryLog>) -> Arc<Self> {
        Arc::new(Self {
            log: Arc::clone(log),
            copy_end: AtomicU64::new(u64::MAX),
            deliver_to: watch::Sender::new(u64::MAX),
            has_quorum: Arc::new(AtomicBool::new(true)),
            barriers: Arc::default(),
            published: Arc::default(),
        })
    }

    /// Cuts it off: its copy stays as it is, and it acknowledges nothing.
    pub fn isolate(&self) {
        self.has_quorum.store(false, Ordering::SeqCst);
        self.fall_behind(self.log.last());
        self.hold_deliveries(self.log.last());
    }

    /// Lets its copy end at this sequence; readers that are open get more.
    pub fn fall_behind(&self, end: u64) {
        self.copy_end.store(end, Ordering::SeqCst);
    }

    /// Lets readers get nothing after this sequence.
    pub fn hold_deliveries(&self, end: u64) {
        self.deliver_to.send_replace(end);
    }

    /// Removes all faults.
    pub fn rejoin(&self) {
        self.has_quorum.store(true, Ordering::SeqCst);
        self.fall_behind(u64::MAX);
        self.hold_deliveries(u64::MAX);
    }

    /// How many barriers it has stored.
    pub fn barriers(&self) -> u64 {
        self.published.load(Ordering::SeqCst)
    }

    fn end_of_copy(&self) -> u64 {
        self.copy_end.load(Ordering::SeqCst).min(self.log.last())
    }

    async fn read(&self, aggregate: AggregateId, after: u64) -> Result<Vec<RecordedEvent>, LogError> {
        let end = self.end_of_copy();
        let mut events = self.log.load(aggregate, after).await?;
        events.retain(|recorded| recorded.sequence <= end);
        Ok(events)
    }
}

impl EventLog for MemoryNode {
    fn append(&self, entry: Append) -> BoxFuture<'_, Result<u64, AppendError>> {
        self.append_batch(vec![entry])
    }

    fn append_batch(&self, entries: Vec<Append>) -> BoxFuture<'_, Result<u64, AppendError>> {
        async move {
            let began = Instant::now();
            if !self.has_quorum.load(Ordering::SeqCst) {
                return Err(AppendError::Unknown("no quorum".into()));
            }
            let sequence = self.log.append_batch(entries).await?;
            self.barriers.record(began, sequence);
            Ok(sequence)
        }
        .boxed()
    }

    fn load(&self, aggregate: AggregateId, after: u64) -> BoxFuture<'_, Result<Vec<RecordedEvent>, LogError>> {
        self.read(aggregate, after).boxed()
    }

    fn load_first(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<FirstPage, LogError>> {
        async move { Ok(FirstPage { events: self.read(aggregate, 0).await?, complete: true }) }.boxed()
    }

    fn last_sequence(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<u64, LogError>> {
        async move { Ok(self.read(aggregate, 0).await?.last().map_or(0, |last| last.sequence)) }.boxed()
    }

    fn barrier(&self, freshness: Freshness) -> BoxFuture<'_, Result<Proof, LogError>> {
        async move {
            let attempt = || {
                let (log, published) = (Arc::clone(&self.log), Arc::clone(&self.published));
                let has_quorum = Arc::clone(&self.has_quorum);
                async move {
                    if !has_quorum.load(Ordering::SeqCst) {
                        return Err(Failure { why: "no quorum".to_owned(), is_final: false });
                    }
                    published.fetch_add(1, Ordering::SeqCst);
                    Ok(log.put_barrier())
                }
                .boxed()
            };
            self.barriers.prove(freshness, attempt).await.map(Proof::UpTo).map_err(LogError::Unavailable)
        }
        .boxed()
    }

    fn extent(&self, aggregate: AggregateId) -> BoxFuture<'_, Result<Option<Extent>, LogError>> {
        async move {
            let end = self.end_of_copy();
            let events = self.read(aggregate, 0).await?.len() as u64;
            Ok(Some(Extent { end, events }))
        }
        .boxed()
    }

    fn stored_at<'a>(&'a self, subject: &'a str, sequence: u64) -> BoxFuture<'a, Result<Option<Timestamp>, LogError>> {
        self.log.stored_at(subject, sequence)
    }

    fn end(&self, filter: Filter) -> BoxFuture<'_, Result<u64, LogError>> {
        async move { Ok(self.log.end(filter).await?.min(self.end_of_copy())) }.boxed()
    }

    fn follow(&self, after: u64, filter: Filter) -> BoxStream<'static, Delivery> {
        let deliver_to = self.deliver_to.clone();
        let delivered = move |delivery: Delivery| {
            let mut deliver_to = deliver_to.subscribe();
            async move {
                let sequence = match &delivery {
                    Delivery::Event(recorded) => recorded.sequence,
                    Delivery::Barrier(sequence) | Delivery::Unreadable { sequence, .. } => *sequence,
                    Delivery::CaughtUp | Delivery::Idle => 0,
                };
                // The node may be dropped before it has caught up.
                let _ = deliver_to.wait_for(|end| *end >= sequence).await;
                delivery
            }
        };
        self.log.follow(after, filter).then(delivered).boxed()
    }

    fn incarnation(&self) -> &Incarnation {
        self.log.incarnation()
    }
}
