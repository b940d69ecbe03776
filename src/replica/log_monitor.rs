//! Watches the broker for what no request shows in time: how full the log is, and whether a leader renews its lease.
//!
//! The leader renews its lease at the broker twice a second. If nobody does for [`MAX_UNRENEWED`], nothing is carried out:
//! the broker can't store (its disk was full, a stream has no leader), or no server can lead. A read does not show this,
//! because a broker that can't write still answers reads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::streams::LEADER_KEY;
use crate::event_log::jetstream::JetStreamLog;
use crate::event_log::size::{Fullness, LogCapacity, LogSize};

/// How often the broker is asked: a question costs it about 0.2 ms.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The same once the log fills up, so that its reserve is kept also if the limit is small.
const CHECK_INTERVAL_WHEN_HIGH: Duration = Duration::from_millis(200);
/// How long one question to the broker may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Nobody leads if the lease is not renewed for this long: three times as long as a take-over takes.
pub const MAX_UNRENEWED: Duration = Duration::from_secs(15);

/// What a replica knows about the broker's state.
#[derive(Debug)]
pub struct LogMonitor {
    capacity: Arc<LogCapacity>,
    lease: Mutex<LeaseWatch>,
}

impl LogMonitor {
    /// Knows nothing yet; records the log's size in `capacity`.
    #[must_use]
    pub fn new(capacity: Arc<LogCapacity>) -> Self {
        Self { capacity, lease: Mutex::new(LeaseWatch::new(Instant::now())) }
    }

    /// The last known size of the log.
    #[must_use]
    pub fn size(&self) -> Option<LogSize> {
        self.capacity.size()
    }

    /// How long the lease has not been renewed, if that is longer than [`MAX_UNRENEWED`].
    #[must_use]
    pub fn leaderless(&self) -> Option<Duration> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).leaderless(Instant::now())
    }

    /// Watches until cancelled.
    pub async fn run(self: Arc<Self>, log: Arc<JetStreamLog>, lease: Store, cancel: CancellationToken) {
        let mut pause = Duration::ZERO;
        while cancel.run_until_cancelled(sleep(pause)).await.is_some() {
            let read =
                async { tokio::join!(timeout(CHECK_TIMEOUT, log.size()), timeout(CHECK_TIMEOUT, revision(&lease))) };
            let Some((size, revision)) = cancel.run_until_cancelled(read).await else { return };
            let size = size.ok().and_then(Result::ok);
            if let Some(size) = size {
                log_size(self.capacity.record(size), size);
            }
            // Without the log, `/health` names the broker as down; only a broker that answers can lack a leader.
            let sight = match (size, revision.ok().flatten()) {
                (None, _) => Sight::NoBroker,
                (Some(_), None) => Sight::NoLease,
                (Some(_), Some(revision)) => Sight::Lease(revision),
            };
            let is_high = self.size().is_some_and(|size| size.fullness() > Fullness::Normal);
            pause = if is_high { CHECK_INTERVAL_WHEN_HIGH } else { CHECK_INTERVAL };
            let now = Instant::now();
            let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            match lease.observe(sight, now) {
                Some(Change::Lost) => tracing::error!(
                    seconds = MAX_UNRENEWED.as_secs(),
                    "nobody leads: no server renews the leader's lease, so nothing is carried out; the broker may be \
                     unable to store (see \"When something is down\" in docs/OPERATIONS.md)"
                ),
                Some(Change::Regained) => tracing::info!("a server leads again"),
                None => {}
            }
        }
    }
}

/// The revision of the lease, which rises with each renewal; `None` if there is no lease or it can't be read.
async fn revision(lease: &Store) -> Option<u64> {
    let entry = lease.entry(LEADER_KEY).await.ok().flatten()?;
    (entry.operation == Operation::Put).then_some(entry.revision)
}

/// Logs each step of the log's fullness once.
fn log_size(before: Option<LogSize>, now: LogSize) {
    let fullness = now.fullness();
    let was = before.map_or(Fullness::Normal, LogSize::fullness);
    if fullness == was {
        return;
    }
    let (bytes, max_bytes, percent) = (now.bytes, now.max_bytes.unwrap_or_default(), now.percent());
    match fullness {
        Fullness::Reserve => tracing::error!(
            bytes,
            max_bytes,
            percent,
            "the event log is in its reserve: sign-ups, sign-ins, creates and resumes are refused with 507; \
             raise DOCKHOST_LOG_MAX_BYTES"
        ),
        Fullness::VeryHigh | Fullness::High if fullness > was => {
            tracing::warn!(bytes, max_bytes, percent, "the event log fills up; see `dockhost log status`");
        }
        _ => tracing::info!(bytes, max_bytes, percent, "the event log has more room again"),
    }
}

/// What one check saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// The broker did not answer about the log.
    NoBroker,
    /// It answered, but there is no lease, or the lease can't be read.
    NoLease,
    /// The lease with this revision.
    Lease(u64),
}

/// A change that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Lost,
    Regained,
}

/// Decides from the revisions of the lease whether anybody leads. Measures with this process's monotonic clock, because
/// the broker's times depend on its clock.
#[derive(Debug)]
struct LeaseWatch {
    revision: Option<u64>,
    /// When the lease was last seen to change.
    renewed: Instant,
    /// Whether that was too long ago at the last check.
    lost: bool,
}

impl LeaseWatch {
    const fn new(now: Instant) -> Self {
        Self { revision: None, renewed: now, lost: false }
    }

    fn observe(&mut self, sight: Sight, now: Instant) -> Option<Change> {
        match sight {
            // The servers need a moment after the broker is back.
            Sight::NoBroker => self.renewed = now,
            Sight::Lease(revision) if self.revision != Some(revision) => {
                (self.revision, self.renewed) = (Some(revision), now);
            }
            Sight::NoLease | Sight::Lease(_) => {}
        }
        let lost = now.saturating_duration_since(self.renewed) > MAX_UNRENEWED;
        let changed = lost != self.lost;
        self.lost = lost;
        changed.then_some(if lost { Change::Lost } else { Change::Regained })
    }

    fn leaderless(&self, now: Instant) -> Option<Duration> {
        self.lost.then(|| now.saturating_duration_since(self.renewed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_watch_reports_a_lease_that_nobody_renews_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = LeaseWatch::new(start);
        assert_eq!(watch.observe(Sight::Lease(7), at(2)), None);
        // The leader is dead: first its last lease is seen, then none.
        assert_eq!(watch.observe(Sight::Lease(7), at(4)), None);
        assert_eq!(watch.observe(Sight::NoLease, at(17)), None);
        assert_eq!(watch.leaderless(at(17)), None);
        assert_eq!(watch.observe(Sight::NoLease, at(18)), Some(Change::Lost));
        assert_eq!(watch.observe(Sight::NoLease, at(20)), None);
        assert_eq!(watch.leaderless(at(20)), Some(Duration::from_secs(18)));
        assert_eq!(watch.observe(Sight::Lease(8), at(22)), Some(Change::Regained));
        assert_eq!(watch.leaderless(at(22)), None);
    }

    #[test]
    fn lease_watch_without_broker_waits_again_after_it_is_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = LeaseWatch::new(start);
        for seconds in (2..60).step_by(2) {
            assert_eq!(watch.observe(Sight::NoBroker, at(seconds)), None);
        }
        assert_eq!(watch.observe(Sight::NoLease, at(60)), None);
        assert_eq!(watch.observe(Sight::NoLease, at(76)), Some(Change::Lost));
    }
}
