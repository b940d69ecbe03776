//! How much each backend may send: token buckets by kind of message. Pure: the time is passed in.
//!
//! A message beyond its bucket is dropped unread. Each dropped message takes a token from a further bucket, the
//! tolerance; when that is empty, the backend is flooding. So thousands of messages per second are a flood at once,
//! somewhat too many after some seconds, and the odd one never.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dockhost_domain::ids::BackendId;

use crate::common::quota::Quota;

/// What a backend sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentMessage {
    /// A hello.
    Hello,
    /// A confirm.
    Confirm,
    /// A heartbeat.
    Heartbeat,
    /// A report.
    Report,
    /// What an unreadable report costs in addition, because no agent sends one.
    UnreadableReport,
}

/// `per_second` in the long run, and `burst` at once. `burst` must be a multiple of `per_second`.
const fn quota(per_second: u32, burst: u32) -> Quota {
    Quota { count: burst, window: Duration::from_secs((burst / per_second) as u64) }
}

/// An agent says hello once for each connection.
const HELLO: Quota = quota(1, 20);
/// An agent asks before it creates a container. A backend has room for at most 3,000.
const CONFIRM: Quota = quota(100, 3000);
/// An agent sends at most five per second.
const HEARTBEAT: Quota = quota(10, 50);
/// After a reconnect an agent may report each of its containers, and each once more because of its assignment.
const REPORT: Quota = quota(200, 6000);
/// Reports out of [`REPORT`] that an unreadable one costs.
const UNREADABLE_REPORT_COST: u32 = 60;
/// Dropped messages that are tolerated.
const TOLERANCE: Quota = quota(20, 1000);

/// When each bucket of a backend is full again.
#[derive(Debug, Default)]
struct Buckets {
    hello: Duration,
    confirm: Duration,
    heartbeat: Duration,
    report: Duration,
    tolerance: Duration,
}

/// Takes one message out of a bucket, if it has one.
fn take(quota: Quota, full_at: &mut Duration, now: Duration) -> bool {
    let (after, decision) = quota.take(*full_at, now);
    *full_at = after;
    decision.retry_after.is_none()
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Process it.
    Accepted,
    /// Drop it unread.
    Dropped,
    /// Drop it, and cut the backend off.
    Flooding,
}

/// The buckets of all backends.
#[derive(Debug)]
pub struct AgentLimits {
    started: Instant,
    backends: HashMap<BackendId, Buckets>,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self { started: Instant::now(), backends: HashMap::new() }
    }
}

impl AgentLimits {
    /// Classifies one message.
    pub fn classify(&mut self, backend: BackendId, message: AgentMessage, now: Instant) -> Treatment {
        let now = now.saturating_duration_since(self.started);
        let buckets = self.backends.entry(backend).or_default();
        let (quota, bucket) = match message {
            AgentMessage::Hello => (HELLO, &mut buckets.hello),
            AgentMessage::Confirm => (CONFIRM, &mut buckets.confirm),
            AgentMessage::Heartbeat => (HEARTBEAT, &mut buckets.heartbeat),
            AgentMessage::Report => (REPORT, &mut buckets.report),
            AgentMessage::UnreadableReport => {
                buckets.report = REPORT.charge(buckets.report, UNREADABLE_REPORT_COST, now);
                return Treatment::Dropped;
            }
        };
        if take(quota, bucket, now) {
            Treatment::Accepted
        } else if take(TOLERANCE, &mut buckets.tolerance, now) {
            Treatment::Dropped
        } else {
            Treatment::Flooding
        }
    }

    /// Forgets the backends whose buckets are full, as those of an unknown backend are.
    pub fn forget_idle(&mut self, now: Instant) {
        let now = now.saturating_duration_since(self.started);
        self.backends.retain(|_, Buckets { hello, confirm, heartbeat, report, tolerance }| {
            [hello, confirm, heartbeat, report, tolerance].into_iter().any(|full_at| *full_at > now)
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ADA: BackendId = BackendId::from_uuid(Uuid::from_u128(1));
    const BOB: BackendId = BackendId::from_uuid(Uuid::from_u128(2));

    /// The treatments of this many messages at this rate.
    fn send(
        limits: &mut AgentLimits,
        message: AgentMessage,
        count: u32,
        per_second: f64,
        from: Instant,
    ) -> Vec<Treatment> {
        let at = |n: u32| from + Duration::from_secs_f64(f64::from(n) / per_second);
        (0..count).map(|n| limits.classify(ADA, message, at(n))).collect()
    }

    #[test]
    fn classify_what_an_agent_sends_is_accepted() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        for (message, count, per_second) in [
            (AgentMessage::Hello, 10, 10.0),
            (AgentMessage::Confirm, 3000, 1e6),
            (AgentMessage::Heartbeat, 5 * 600, 5.0),
            (AgentMessage::Report, 6000, 1e6),
        ] {
            let treatments = send(&mut limits, message, count, per_second, now);
            assert!(treatments.iter().all(|treatment| *treatment == Treatment::Accepted), "{message:?}");
        }
    }

    #[test]
    fn classify_flood_is_dropped_then_flooding_and_others_are_not_affected() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let treatments = send(&mut limits, AgentMessage::Heartbeat, 3000, 30_000.0, now);
        let count = |wanted| treatments.iter().filter(|treatment| **treatment == wanted).count();
        assert!((50..60).contains(&count(Treatment::Accepted)), "{}", count(Treatment::Accepted));
        assert!((1000..1010).contains(&count(Treatment::Dropped)), "{}", count(Treatment::Dropped));
        assert_eq!(treatments.last(), Some(&Treatment::Flooding));
        assert_eq!(limits.classify(BOB, AgentMessage::Heartbeat, now), Treatment::Accepted);
        assert_eq!(limits.classify(ADA, AgentMessage::Hello, now), Treatment::Accepted, "another kind");
    }

    #[test]
    fn classify_slightly_too_much_is_never_flooding() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let treatments = send(&mut limits, AgentMessage::Heartbeat, 25 * 3600, 25.0, now);
        assert!(treatments.contains(&Treatment::Dropped) && !treatments.contains(&Treatment::Flooding));
    }

    #[test]
    fn classify_unreadable_reports_use_up_the_bucket() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let mut accepted = 0;
        while limits.classify(ADA, AgentMessage::Report, now) == Treatment::Accepted {
            limits.classify(ADA, AgentMessage::UnreadableReport, now);
            accepted += 1;
        }
        assert!(accepted <= 100, "{accepted}");
    }

    #[test]
    fn forget_idle_keeps_backends_that_sent_lately() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        limits.classify(ADA, AgentMessage::Hello, now);
        limits.forget_idle(now);
        assert_eq!(limits.backends.len(), 1);
        limits.forget_idle(now + Duration::from_secs(2));
        assert!(limits.backends.is_empty());
    }
}
