//! How much each backend may send: token buckets by kind of message. Pure: the time is passed in.
//!
//! A message beyond its bucket is dropped unread. Each dropped message takes a token from a further bucket, the
//! tolerance; when that is empty, the backend is flooding. So thousands of messages per second are a flood at once,
//! somewhat too many after some seconds, and the odd one never.

use std::collections::HashMap;
use std::time::Instant;

use dockhost_domain::ids::BackendId;

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

/// The size of a bucket and how fast it fills.
#[derive(Debug, Clone, Copy)]
struct Quota {
    per_second: f64,
    burst: f64,
}

/// An agent says hello once for each connection.
const HELLO: Quota = Quota { per_second: 1.0, burst: 20.0 };
/// An agent asks before it creates a container. A backend has room for at most 3,000.
const CONFIRM: Quota = Quota { per_second: 100.0, burst: 3000.0 };
/// An agent sends at most five per second.
const HEARTBEAT: Quota = Quota { per_second: 10.0, burst: 50.0 };
/// After a reconnect an agent may report each of its containers, and each once more because of its assignment.
const REPORT: Quota = Quota { per_second: 200.0, burst: 6000.0 };
/// Tokens of [`REPORT`] that an unreadable report costs.
const UNREADABLE_REPORT_COST: f64 = 60.0;
/// Dropped messages that are tolerated.
const TOLERANCE: Quota = Quota { per_second: 20.0, burst: 1000.0 };

#[derive(Debug, Clone, Copy)]
struct Bucket {
    quota: Quota,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    const fn full(quota: Quota, now: Instant) -> Self {
        Self { quota, tokens: quota.burst, filled_at: now }
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * self.quota.per_second;
        self.tokens = (self.tokens + gained).min(self.quota.burst);
        self.filled_at = now;
    }

    /// Takes a token, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Takes up to so many tokens.
    fn drain(&mut self, tokens: f64) {
        self.tokens = (self.tokens - tokens).max(0.0);
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.quota.burst
    }
}

#[derive(Debug)]
struct Buckets {
    hello: Bucket,
    confirm: Bucket,
    heartbeat: Bucket,
    report: Bucket,
    tolerance: Bucket,
}

impl Buckets {
    const fn full(now: Instant) -> Self {
        Self {
            hello: Bucket::full(HELLO, now),
            confirm: Bucket::full(CONFIRM, now),
            heartbeat: Bucket::full(HEARTBEAT, now),
            report: Bucket::full(REPORT, now),
            tolerance: Bucket::full(TOLERANCE, now),
        }
    }
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Process it.
    Accepted,
    /// Drop it unread.
    Dropped,
    /// Drop it, and cut the backend off.
    Flooding,
}

/// The buckets of all backends.
#[derive(Debug, Default)]
pub struct AgentLimits {
    backends: HashMap<BackendId, Buckets>,
}

impl AgentLimits {
    /// Decides about one message.
    pub fn judge(&mut self, backend: BackendId, message: AgentMessage, now: Instant) -> Verdict {
        let buckets = self.backends.entry(backend).or_insert_with(|| Buckets::full(now));
        let bucket = match message {
            AgentMessage::Hello => &mut buckets.hello,
            AgentMessage::Confirm => &mut buckets.confirm,
            AgentMessage::Heartbeat => &mut buckets.heartbeat,
            AgentMessage::Report => &mut buckets.report,
            AgentMessage::UnreadableReport => {
                buckets.report.drain(UNREADABLE_REPORT_COST);
                return Verdict::Dropped;
            }
        };
        if bucket.take(now) {
            Verdict::Accepted
        } else if buckets.tolerance.take(now) {
            Verdict::Dropped
        } else {
            Verdict::Flooding
        }
    }

    /// Forgets the backends whose buckets are full, as those of an unknown backend are.
    pub fn forget_idle(&mut self, now: Instant) {
        self.backends.retain(|_, buckets| {
            let Buckets { hello, confirm, heartbeat, report, tolerance } = buckets;
            ![hello, confirm, heartbeat, report, tolerance].into_iter().all(|bucket| bucket.is_full(now))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    const ADA: BackendId = BackendId::from_uuid(Uuid::from_u128(1));
    const BOB: BackendId = BackendId::from_uuid(Uuid::from_u128(2));

    /// The verdicts about this many messages at this rate.
    fn send(
        limits: &mut AgentLimits,
        message: AgentMessage,
        count: u32,
        per_second: f64,
        from: Instant,
    ) -> Vec<Verdict> {
        let at = |n: u32| from + Duration::from_secs_f64(f64::from(n) / per_second);
        (0..count).map(|n| limits.judge(ADA, message, at(n))).collect()
    }

    #[test]
    fn judge_what_an_agent_sends_is_accepted() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        for (message, count, per_second) in [
            (AgentMessage::Hello, 10, 10.0),
            (AgentMessage::Confirm, 3000, 1e6),
            (AgentMessage::Heartbeat, 5 * 600, 5.0),
            (AgentMessage::Report, 6000, 1e6),
        ] {
            let verdicts = send(&mut limits, message, count, per_second, now);
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted), "{message:?}");
        }
    }

    #[test]
    fn judge_flood_is_dropped_then_flooding_and_others_are_not_affected() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let verdicts = send(&mut limits, AgentMessage::Heartbeat, 3000, 30_000.0, now);
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert!((50..60).contains(&count(Verdict::Accepted)), "{}", count(Verdict::Accepted));
        assert!((1000..1010).contains(&count(Verdict::Dropped)), "{}", count(Verdict::Dropped));
        assert_eq!(verdicts.last(), Some(&Verdict::Flooding));
        assert_eq!(limits.judge(BOB, AgentMessage::Heartbeat, now), Verdict::Accepted);
        assert_eq!(limits.judge(ADA, AgentMessage::Hello, now), Verdict::Accepted, "another kind");
    }

    #[test]
    fn judge_slightly_too_much_is_never_flooding() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let verdicts = send(&mut limits, AgentMessage::Heartbeat, 25 * 3600, 25.0, now);
        assert!(verdicts.contains(&Verdict::Dropped) && !verdicts.contains(&Verdict::Flooding));
    }

    #[test]
    fn judge_unreadable_reports_use_up_the_bucket() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let mut accepted = 0;
        while limits.judge(ADA, AgentMessage::Report, now) == Verdict::Accepted {
            limits.judge(ADA, AgentMessage::UnreadableReport, now);
            accepted += 1;
        }
        assert!(accepted <= 100, "{accepted}");
    }

    #[test]
    fn forget_idle_keeps_backends_that_sent_lately() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        limits.judge(ADA, AgentMessage::Hello, now);
        limits.forget_idle(now);
        assert_eq!(limits.backends.len(), 1);
        limits.forget_idle(now + Duration::from_secs(2));
        assert!(limits.backends.is_empty());
    }
}
