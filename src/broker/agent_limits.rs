//! How much each backend may send: token buckets by kind of message. Pure: the time is passed in.
//!
//! A hello, confirm or heartbeat beyond its bucket is dropped unread; the agent sends another one. Each dropped message
//! takes a token from a further bucket, the tolerance; when that is empty, the backend is flooding. So thousands of
//! messages per second are a flood at once, somewhat too many after some seconds, and the odd one never.
//!
//! A report beyond its buckets waits ([`AgentLimits::report_wait`]), because an agent sends each only once. While some
//! reports of a backend wait, REPORTS takes no more of it, so its agent waits, too. A backend floods with reports if it
//! sends what no agent does: many that can't be read, or many about one instance while an earlier one waits.
//!
//! The buckets hold what an agent sends at most by its own limits, which each of them names.
//! `busy_honest_machine_meets_no_limit` in `tests/hostile` shows that 40 instances that change at once stay below them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dockhost_domain::ids::{BackendId, InstanceId};

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
    /// A report that can't be read.
    UnreadableReport,
    /// A report that replaces an earlier one about its instance, which still waits.
    ReplacingReport {
        /// How long the broker had it before it was read.
        age: Duration,
    },
}

/// `per_second` in the long run, and `burst` at once. `burst` must be a multiple of `per_second`.
const fn quota(per_second: u32, burst: u32) -> Quota {
    Quota { count: burst, window: Duration::from_secs((burst / per_second) as u64) }
}

/// An agent says hello once for each connection, and connects again after 0.1, 0.2, 0.4, ... 5 s.
const HELLO: Quota = quota(1, 10);
/// An agent asks before it creates a container, 16 times at once and again after a second without an answer. So the dropped
/// ones are fewer than the tolerance regains.
const CONFIRM: Quota = quota(50, 50);
/// An agent sends at most five per second.
const HEARTBEAT: Quota = quota(10, 50);
/// After a reconnect an agent may report each of its containers, at most 3,000, and each once more because of its
/// assignment.
const REPORT: Quota = quota(200, 6000);
/// Reports about one instance without a new generation: changes that nobody asked for, as of a container that ends again
/// and again. Each may become an event.
const INSTANCE: Quota = Quota { count: 20, window: Duration::from_secs(40) };
/// Reports out of [`REPORT`] that one about an unknown instance costs. After a restore of an older log, there are some.
const UNKNOWN_INSTANCE_COST: u32 = 60;
/// An agent sends none, unless it is of another release.
const UNREADABLE_REPORT: Quota = quota(1, 60);
/// An agent has one report of an instance under way, and keeps newer ones until that is stored.
const REPLACING_REPORT: Quota = quota(10, 200);
/// An older report shows nothing about how fast its agent sends: nobody read reports for a while, or the broker delivers
/// processed ones once more, hundreds per second, as a node of a cluster may do after it was lost.
const MAX_REPORT_AGE: Duration = Duration::from_secs(5);
/// Dropped messages that are tolerated.
const TOLERANCE: Quota = quota(20, 300);

/// When each bucket of a backend is full again.
#[derive(Debug, Default)]
struct Buckets {
    hello: Duration,
    confirm: Duration,
    heartbeat: Duration,
    report: Duration,
    unreadable: Duration,
    replacing: Duration,
    tolerance: Duration,
    instances: HashMap<InstanceId, Reported>,
}

/// The reports about one instance.
#[derive(Debug, Default)]
struct Reported {
    generation: u32,
    full_at: Duration,
}

/// Takes one message out of a bucket; if it has none, returns when it will have one.
fn take(quota: Quota, full_at: &mut Duration, now: Duration) -> Result<(), Duration> {
    let (after, decision) = quota.take(*full_at, now);
    *full_at = after;
    decision.retry_after.map_or(Ok(()), Err)
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
            AgentMessage::UnreadableReport => (UNREADABLE_REPORT, &mut buckets.unreadable),
            AgentMessage::ReplacingReport { age } if age > MAX_REPORT_AGE => return Treatment::Accepted,
            AgentMessage::ReplacingReport { .. } => (REPLACING_REPORT, &mut buckets.replacing),
        };
        match (message, take(quota, bucket, now)) {
            (AgentMessage::UnreadableReport, Ok(())) => Treatment::Dropped,
            (_, Ok(())) => Treatment::Accepted,
            (AgentMessage::UnreadableReport | AgentMessage::ReplacingReport { .. }, Err(_)) => Treatment::Flooding,
            (_, Err(_)) if take(TOLERANCE, &mut buckets.tolerance, now).is_ok() => Treatment::Dropped,
            (_, Err(_)) => Treatment::Flooding,
        }
    }

    /// How long a report must wait before it is processed. If it need not, it is counted; else ask again then.
    pub fn report_wait(
        &mut self,
        backend: BackendId,
        (instance, generation): (InstanceId, u32),
        now: Instant,
    ) -> Option<Duration> {
        let now = now.saturating_duration_since(self.started);
        let buckets = self.backends.entry(backend).or_default();
        let reported = buckets.instances.entry(instance).or_default();
        // A new generation comes from a command, whose number is limited.
        if generation > reported.generation {
            reported.generation = generation;
        } else if let Err(wait) = take(INSTANCE, &mut reported.full_at, now) {
            return Some(wait);
        }
        take(REPORT, &mut buckets.report, now).err()
    }

    /// Counts a report about an instance that the log does not know.
    pub fn count_unknown_instance(&mut self, backend: BackendId, now: Instant) {
        let now = now.saturating_duration_since(self.started);
        let buckets = self.backends.entry(backend).or_default();
        buckets.report = REPORT.charge(buckets.report, UNKNOWN_INSTANCE_COST, now);
    }

    /// Forgets the backends and instances whose buckets are full, as those of unknown ones are.
    pub fn forget_idle(&mut self, now: Instant) {
        let now = now.saturating_duration_since(self.started);
        self.backends.retain(|_, buckets| {
            buckets.instances.retain(|_, reported| reported.full_at > now);
            let Buckets { hello, confirm, heartbeat, report, unreadable, replacing, tolerance, instances } = buckets;
            let full_at = [hello, confirm, heartbeat, report, unreadable, replacing, tolerance];
            !instances.is_empty() || full_at.into_iter().any(|full_at| *full_at > now)
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const INSTANCE_ID: InstanceId = InstanceId::from_uuid(Uuid::from_u128(3));
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
        for (message, count, per_second) in
            [(AgentMessage::Hello, 10, 10.0), (AgentMessage::Confirm, 50, 1e6), (AgentMessage::Heartbeat, 5 * 600, 5.0)]
        {
            let treatments = send(&mut limits, message, count, per_second, now);
            assert!(treatments.iter().all(|treatment| *treatment == Treatment::Accepted), "{message:?}");
        }
    }

    #[test]
    fn classify_flood_is_dropped_then_flooding_and_others_are_not_affected() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let treatments = send(&mut limits, AgentMessage::Heartbeat, 1000, 30_000.0, now);
        let count = |wanted| treatments.iter().filter(|treatment| **treatment == wanted).count();
        assert!((50..60).contains(&count(Treatment::Accepted)), "{}", count(Treatment::Accepted));
        assert!((300..310).contains(&count(Treatment::Dropped)), "{}", count(Treatment::Dropped));
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

    /// 3,000 containers that are created at once: what is dropped is asked again after a second, 16 at a time.
    #[test]
    fn classify_confirms_of_a_full_machine_are_never_flooding() {
        let (mut limits, mut now, mut asked) = (AgentLimits::default(), Instant::now(), 0);
        while asked < 3000 {
            let treatments: Vec<_> = (0..16).map(|_| limits.classify(ADA, AgentMessage::Confirm, now)).collect();
            assert!(!treatments.contains(&Treatment::Flooding), "after {asked}");
            let dropped = treatments.contains(&Treatment::Dropped);
            asked += treatments.iter().filter(|treatment| **treatment == Treatment::Accepted).count();
            now += Duration::from_millis(if dropped { 1000 } else { 2 });
        }
    }

    #[test]
    fn classify_what_no_agent_sends_is_flooding_soon() {
        let replacing = AgentMessage::ReplacingReport { age: Duration::from_millis(20) };
        for (message, tolerated) in [(AgentMessage::UnreadableReport, 60), (replacing, 200)] {
            let (mut limits, now) = (AgentLimits::default(), Instant::now());
            let treatments = send(&mut limits, message, tolerated + 10, 30_000.0, now);
            let found = treatments.iter().take_while(|treatment| **treatment != Treatment::Flooding).count();
            assert!((tolerated as usize..tolerated as usize + 5).contains(&found), "{message:?}: {found}");
            assert_eq!(treatments.last(), Some(&Treatment::Flooding));
        }
    }

    #[test]
    fn classify_reports_that_the_broker_delivers_again_are_no_flood() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let redelivered = AgentMessage::ReplacingReport { age: Duration::from_secs(60) };
        let treatments = send(&mut limits, redelivered, 10_000, 1000.0, now);
        assert!(treatments.iter().all(|treatment| *treatment == Treatment::Accepted));
    }

    #[test]
    fn report_wait_after_a_reconnect_is_none() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        for instance in (0..3000).chain(0..3000) {
            let instance = InstanceId::from_uuid(Uuid::from_u128(instance));
            assert_eq!(limits.report_wait(ADA, (instance, 0), now), None);
        }
        assert_ne!(limits.report_wait(ADA, (INSTANCE_ID, 0), now), None, "beyond its bucket");
        assert_eq!(limits.report_wait(BOB, (INSTANCE_ID, 0), now), None, "another backend");
    }

    #[test]
    fn report_wait_is_by_instance_unless_the_generation_is_new() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        for generation in 1..100 {
            assert_eq!(limits.report_wait(ADA, (INSTANCE_ID, generation), now), None);
        }
        for _ in 0..20 {
            assert_eq!(limits.report_wait(ADA, (INSTANCE_ID, 99), now), None);
        }
        let wait = limits.report_wait(ADA, (INSTANCE_ID, 99), now).unwrap();
        assert_eq!(limits.report_wait(ADA, (INSTANCE_ID, 99), now + wait), None, "waited long enough");
        let other = InstanceId::from_uuid(Uuid::from_u128(4));
        assert_eq!(limits.report_wait(ADA, (other, 99), now), None, "another instance");
    }

    #[test]
    fn report_wait_of_unknown_instances_is_long_soon() {
        let (mut limits, now) = (AgentLimits::default(), Instant::now());
        let mut processed = 0;
        while limits.report_wait(ADA, (InstanceId::from_uuid(Uuid::from_u128(processed)), 1), now).is_none() {
            limits.count_unknown_instance(ADA, now);
            processed += 1;
        }
        assert!(processed <= 100, "{processed}");
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
