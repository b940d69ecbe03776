//! Gathers the facts that a decision about an instance needs: the time, the policy, the candidates and a tie breaker.

use dockhost_domain::ids::InstanceId;
use dockhost_domain::tenancy::{Facts, Policy};

use super::follower::Follower;
use crate::common::clock;

impl Follower {
    /// The facts for a decision about this instance.
    pub fn facts(&self, policy: Policy, instance: InstanceId) -> Facts {
        Facts { now: clock::now(), policy, candidates: self.fleet().candidates(), tie_breaker: tie_breaker(instance) }
    }
}

/// Spreads instances over equally loaded backends: the low bits of the id are random.
pub fn tie_breaker(instance: InstanceId) -> u64 {
    instance.uuid().as_u64_pair().1
}
