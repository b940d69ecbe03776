//! Counts what this replica refuses, and stores the counts once a minute, for the audit.
//!
//! The memory and the event are bounded, whatever the traffic is: [`MAX_SOURCES`] sources are counted one by one in a minute,
//! and the [`MAX_COUNTS`] with the most refusals are stored; of all others only the sums are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::refusal::{
    OtherRefusals, RecordRefusals, RefusalCount, RefusalKind, RefusalSource, RefusalsCounted,
};
use dockhost_domain::subject::AllRefusals;
use dockhost_domain::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::common::clock;
use crate::execute::Executor;

/// Sources that are counted one by one in a minute; each takes about 50 bytes.
pub const MAX_SOURCES: usize = 4096;
/// Sources in an event; each takes about 80 bytes.
pub const MAX_COUNTS: usize = 32;
/// How often the counts are stored.
const INTERVAL: Duration = Duration::from_secs(60);
/// When this replica ends, the last counts are stored within this time or dropped.
const LAST_WITHIN: Duration = Duration::from_secs(2);

type Key = (RefusalSource, RefusalKind);

/// What was counted since the last event.
#[derive(Debug, Default)]
struct Counts {
    from: Option<Timestamp>,
    by_source: HashMap<Key, u64>,
    others: HashMap<RefusalKind, u64>,
}

impl Counts {
    fn add(&mut self, key: Key, count: u64, from: Timestamp) {
        self.from = Some(self.from.map_or(from, |earlier| earlier.min(from)));
        let is_known = self.by_source.contains_key(&key);
        let counter = if is_known || self.by_source.len() < MAX_SOURCES {
            self.by_source.entry(key).or_default()
        } else {
            self.others.entry(key.1).or_default()
        };
        *counter = counter.saturating_add(count);
    }

    /// The event; none if nothing was counted.
    fn event(self, until: Timestamp) -> Option<RefusalsCounted> {
        let (from, mut others) = (self.from?, self.others);
        let mut counts: Vec<(Key, u64)> = self.by_source.into_iter().collect();
        counts.sort_unstable_by(|(one, count), (other, than)| than.cmp(count).then(one.cmp(other)));
        for ((_, kind), count) in counts.drain(MAX_COUNTS.min(counts.len())..) {
            let sum = others.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        let counts = counts.into_iter().map(|((source, kind), count)| RefusalCount { source, kind, count });
        let others = RefusalKind::ALL
            .into_iter()
            .filter_map(|kind| others.get(&kind).map(|count| OtherRefusals { kind, count: *count }));
        Some(RefusalsCounted { from, until: until.max(from), counts: counts.collect(), others: others.collect() })
    }
}

/// The refusals of this replica.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Counts>);

impl Refusals {
    /// Counts one.
    pub fn count(&self, source: RefusalSource, kind: RefusalKind) {
        self.lock().add((source, kind), 1, clock::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what was counted. If that fails, it goes on counting.
    pub async fn store(&self, executor: &Arc<Executor>) {
        let counts = std::mem::take(&mut *self.lock());
        let Some(counted) = counts.event(clock::now()) else { return };
        let origin = Origin::new(Actor::System, "refusals");
        if let Err(error) = executor.execute(AllRefusals, origin, RecordRefusals(counted.clone())).await {
            tracing::warn!(error = %error, "counts of refused requests not stored yet");
            self.put_back(&counted);
        }
    }

    fn put_back(&self, counted: &RefusalsCounted) {
        let mut counts = self.lock();
        for RefusalCount { source, kind, count } in &counted.counts {
            counts.add((*source, *kind), *count, counted.from);
        }
        for OtherRefusals { kind, count } in &counted.others {
            let sum = counts.others.entry(*kind).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Stores the counts once a minute until cancelled, and then once more.
    pub async fn run(self: Arc<Self>, executor: Arc<Executor>, cancel: CancellationToken) {
        while cancel.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            self.store(&executor).await;
        }
        if tokio::time::timeout(LAST_WITHIN, self.store(&executor)).await.is_err() {
            tracing::warn!("the last counts of refused requests are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dockhost_domain::ids::UserId;
    use dockhost_domain::refusal::Network;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::http::testing::{PASSWORD, TestApp};

    fn network(n: u32) -> RefusalSource {
        RefusalSource::Network(Network::of(Ipv4Addr::from(n << 8).into()))
    }

    fn total(counted: &RefusalsCounted) -> u64 {
        let counts = counted.counts.iter().map(|one| one.count);
        counts.chain(counted.others.iter().map(|others| others.count)).sum()
    }

    #[test]
    fn refusals_from_very_many_sources_take_bounded_memory_and_one_small_event() {
        let refusals = Refusals::default();
        let heavy = network(7);
        for n in 0..100_000 {
            refusals.count(network(n), RefusalKind::SignIn);
            if n % 10 == 0 {
                refusals.count(heavy, RefusalKind::Unauthorized);
            }
        }
        let counts = std::mem::take(&mut *refusals.lock());
        assert!(counts.by_source.len() <= MAX_SOURCES && counts.others.len() <= 3, "{}", counts.by_source.len());
        let counted = counts.event(clock::now()).unwrap();
        assert_eq!((counted.counts.len(), total(&counted)), (MAX_COUNTS, 110_000));
        assert_eq!(
            (counted.counts[0].source, counted.counts[0].count),
            (heavy, 10_000),
            "the one with the most is first"
        );
        assert!(serde_json::to_vec(&counted).unwrap().len() < 4096);
        assert_eq!(std::mem::take(&mut *refusals.lock()).event(clock::now()), None);
    }

    #[test]
    fn refusals_that_could_not_be_stored_are_counted_on() {
        let refusals = Refusals::default();
        let user = RefusalSource::User(UserId::from_uuid(Uuid::from_u128(1)));
        for n in 0..100 {
            refusals.count(network(n), RefusalKind::SignIn);
        }
        let first = std::mem::take(&mut *refusals.lock()).event(clock::now()).unwrap();
        refusals.count(user, RefusalKind::Forbidden);
        refusals.put_back(&first);
        let both = std::mem::take(&mut *refusals.lock()).event(clock::now()).unwrap();
        assert_eq!((both.from, total(&both)), (first.from, 101));
    }

    #[tokio::test]
    async fn refused_requests_are_in_the_audit_by_source_and_kind() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        for _ in 0..2 {
            app.post("/api/v2/user/signin", json!({ "username": "ada", "password": "wrong horse" })).send().await;
        }
        app.post("/api/v2/user/signin", json!({ "username": "ada", "password": PASSWORD })).send().await;
        app.get("/api/v2/admin/users").token(&ada.token).send().await;
        app.get("/api/v2/admin/users").send().await;
        app.get("/api/v2/user/me").send().await;
        app.app.refusals.store(&app.app.executor).await;
        let audit = || app.get("/api/v2/admin/audit?type=refusals").token(&boss.token).send();
        let answer = audit().await;
        let event = &answer.data()["items"][0];
        assert_eq!(
            (&event["subject"], &event["actor"]["kind"]),
            (&json!("refusals.all"), &json!("system")),
            "{answer:?}"
        );
        let source = |kind: &str| {
            let counts = event["data"]["counts"].as_array().unwrap();
            let mut found = counts.iter().filter(|one| one["kind"] == kind);
            let one = found.next().unwrap_or_else(|| panic!("{kind}: {event}"));
            assert!(found.next().is_none(), "{kind}: {event}");
            (one["count"].clone(), one["source"].clone())
        };
        assert_eq!(source("forbidden"), (json!(1), json!({ "user": ada.id })));
        for (kind, count) in [("sign-in", 2), ("unauthorized", 1)] {
            let (counted, source) = source(kind);
            assert!(counted == count && source["network"].is_string(), "{kind}: {event}");
        }
        assert_eq!(event["data"]["others"], Value::Array(Vec::new()));
        // Nothing was refused since.
        app.app.refusals.store(&app.app.executor).await;
        assert_eq!(audit().await.data()["items"].as_array().map(Vec::len), Some(1));
    }
}
