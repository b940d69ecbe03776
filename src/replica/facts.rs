//! The facts that decisions about an instance need, gathered on this replica.
//!
//! In: what the follower knows, and how long things may take. Out: the time, the machines, and a number that lets
//! equal machines take turns.

use dockhost_domain::ids::InstanceId;
use dockhost_domain::tenancy::{Facts, Policy};

use super::follower::Follower;
use crate::common::clock;

impl Follower {
    /// What a decision about an instance needs to know.
    pub fn facts(&self, policy: Policy, instance: InstanceId) -> Facts {
        Facts { now: clock::now(), policy, candidates: self.fleet().candidates(), turn: tie_breaker(instance) }
    }
}

/// A number that differs from instance to instance: the low bits of its id are random.
pub fn tie_breaker(instance: InstanceId) -> u64 {
    instance.uuid().as_u64_pair().1
}
