//! Rate limits: by account for those who are signed in, else by client address, and the delay after failed sign-ins.
//!
//! Each replica counts in memory, within bounds: of too many callers, those that were not seen for the longest time are
//! forgotten. What strangers may do counts on all replicas together: each tells the others of the requests that it admits,
//! by core NATS messages ([`exchange`]). While the broker is away, each counts its own.

pub mod exchange;
mod failures;
pub mod policy;

use std::time::Duration;

use dockhost_domain::ids::PrincipalId;
use moka::ops::compute::Op;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use failures::Failures;
use policy::{Endpoint, Policy};

use crate::common::quota::{Decision, Quota};
use crate::http::extract::ClientAddress;

/// Callers that are remembered; each takes about 100 bytes.
const MAX_CALLERS: u64 = 100_000;
/// A bucket is full after its window at the latest, and then need not be remembered.
const FORGET_CALLERS: Duration = Duration::from_secs(24 * 60 * 60);
/// Failed sign-ins are forgotten after this time without another.
const FORGET_FAILURES: Duration = Duration::from_secs(60 * 60);
/// Notes to other replicas that wait to be sent; more are dropped, and the others then count less.
const MAX_NOTES: usize = 1024;

/// Whose requests count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// An account.
    Principal(PrincipalId),
    /// A client without an account.
    Address(ClientAddress),
}

/// A name and an address from which someone tries to sign in, as a keyed hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt(pub String);

/// What a replica tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Note {
    /// It admitted a request of a stranger.
    Admitted(Endpoint, ClientAddress),
    /// A sign-in failed.
    Failed(Attempt),
    /// A sign-in succeeded.
    Succeeded(Attempt),
}

/// The limits of this replica.
pub struct RateLimits {
    policy: Policy,
    started: Instant,
    buckets: Cache<(Endpoint, Caller), Duration>,
    failures: Cache<Attempt, Failures>,
    notes: mpsc::Sender<Note>,
}

/// The notes of a replica to the others.
pub struct Notes(mpsc::Receiver<Note>);

impl RateLimits {
    /// With this policy; nothing has been counted yet.
    pub fn new(policy: Policy) -> (Self, Notes) {
        let (notes, receiver) = mpsc::channel(MAX_NOTES);
        let limits = Self {
            policy,
            started: Instant::now(),
            buckets: Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(FORGET_CALLERS).build(),
            failures: Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(FORGET_FAILURES).build(),
            notes,
        };
        (limits, Notes(receiver))
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn tell(&self, note: Note) {
        let _ = self.notes.try_send(note);
    }

    /// Counts a request; none if the endpoint has no limit.
    pub fn take(&self, endpoint: Endpoint, caller: Caller) -> Option<(Quota, Decision)> {
        let quota = self.policy.quota(endpoint)?;
        let now = self.now();
        let mut decision = None;
        self.buckets.entry((endpoint, caller)).and_compute_with(|entry| {
            let full_at = entry.map_or(Duration::ZERO, moka::Entry::into_value);
            let (full_at, decided) = quota.take(full_at, now);
            decision = Some(decided);
            Op::Put(full_at)
        });
        let decision = decision?;
        if let Caller::Address(address) = caller
            && endpoint.is_shared()
            && decision.retry_after.is_none()
        {
            self.tell(Note::Admitted(endpoint, address));
        }
        Some((quota, decision))
    }

    /// How long this attempt to sign in must wait.
    pub fn delay(&self, attempt: &Attempt) -> Option<Duration> {
        self.failures.get(attempt)?.delay(self.now())
    }

    /// Counts a failed sign-in; returns how many there were.
    pub fn failed(&self, attempt: Attempt) -> u32 {
        let failures = self.add_failure(attempt.clone());
        self.tell(Note::Failed(attempt));
        failures.count()
    }

    /// Forgets the failed sign-ins before one that succeeded.
    pub fn succeeded(&self, attempt: Attempt) {
        if self.failures.contains_key(&attempt) {
            self.failures.invalidate(&attempt);
            self.tell(Note::Succeeded(attempt));
        }
    }

    fn add_failure(&self, attempt: Attempt) -> Failures {
        // Sign-ins without a limit have no delay either.
        if self.policy.quota(Endpoint::SignIn).is_none() {
            return Failures::default();
        }
        let now = self.now();
        let entry = self.failures.entry(attempt);
        entry
            .and_upsert_with(|entry| entry.map_or_else(Failures::default, moka::Entry::into_value).and_one(now))
            .into_value()
    }

    /// Counts what another replica did.
    fn apply(&self, note: Note) {
        match note {
            Note::Admitted(endpoint, address) => {
                let Some(quota) = self.policy.quota(endpoint) else { return };
                let now = self.now();
                self.buckets.entry((endpoint, Caller::Address(address))).and_upsert_with(|entry| {
                    // It was admitted there, even if the bucket is empty here.
                    quota.charge(entry.map_or(Duration::ZERO, moka::Entry::into_value), 1, now)
                });
            }
            Note::Failed(attempt) => {
                self.add_failure(attempt);
            }
            Note::Succeeded(attempt) => self.failures.invalidate(&attempt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(policy: &str) -> (RateLimits, Notes) {
        RateLimits::new(policy.parse().unwrap())
    }

    fn caller(address: &str) -> Caller {
        Caller::Address(ClientAddress::of(address.parse().unwrap()))
    }

    fn is_admitted(limits: &RateLimits, endpoint: Endpoint, address: &str) -> bool {
        limits.take(endpoint, caller(address)).unwrap().1.retry_after.is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn take_counts_each_caller_and_endpoint_by_itself() {
        let (limits, _notes) = limits("signin=1/m, signup=1/m, create=off");
        assert!(is_admitted(&limits, Endpoint::SignIn, "192.0.2.1"));
        assert!(!is_admitted(&limits, Endpoint::SignIn, "192.0.2.1"));
        assert!(is_admitted(&limits, Endpoint::SignUp, "192.0.2.1"));
        assert!(is_admitted(&limits, Endpoint::SignIn, "192.0.2.2"));
        // A client has as many IPv6 addresses as it likes, but few networks.
        assert!(is_admitted(&limits, Endpoint::SignIn, "2001:db8::1"));
        assert!(!is_admitted(&limits, Endpoint::SignIn, "2001:db8::2"));
        assert!(is_admitted(&limits, Endpoint::SignIn, "2001:db8:0:1::1"));
        assert_eq!(limits.take(Endpoint::Create, caller("192.0.2.1")), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(is_admitted(&limits, Endpoint::SignIn, "192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn notes_make_replicas_count_together() {
        let (ours, mut notes) = limits("signin=2/m, read=1/m");
        let (theirs, _notes) = limits("signin=2/m, read=1/m");
        assert!(is_admitted(&ours, Endpoint::SignIn, "192.0.2.1"));
        assert!(is_admitted(&ours, Endpoint::Read, "192.0.2.1"));
        let attempt = Attempt("ada".to_owned());
        for failures in 1..=5 {
            assert_eq!(ours.failed(attempt.clone()), failures);
        }
        while let Ok(note) = notes.0.try_recv() {
            theirs.apply(note);
        }
        assert!(theirs.delay(&attempt).is_some());
        assert!(is_admitted(&theirs, Endpoint::SignIn, "192.0.2.1"));
        assert!(!is_admitted(&theirs, Endpoint::SignIn, "192.0.2.1"));
        assert!(is_admitted(&theirs, Endpoint::Read, "192.0.2.1"), "queries count by replica");
        ours.succeeded(attempt.clone());
        theirs.apply(notes.0.try_recv().unwrap());
        assert_eq!(theirs.delay(&attempt), None);
    }

    #[tokio::test(start_paused = true)]
    async fn take_by_very_many_callers_remembers_a_bounded_number() {
        let (limits, _notes) = limits("signin=1/m");
        for n in 0..(MAX_CALLERS + 10_000) {
            let address = std::net::Ipv4Addr::from(u32::try_from(n).unwrap()).to_string();
            is_admitted(&limits, Endpoint::SignIn, &address);
        }
        limits.buckets.run_pending_tasks();
        assert!(limits.buckets.entry_count() <= MAX_CALLERS, "{}", limits.buckets.entry_count());
    }
}
