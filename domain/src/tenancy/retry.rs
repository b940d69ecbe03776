//! What follows when a placement fails before its container has ever run: there are no files to lose, so another backend
//! is tried.
//!
//! Each backend is tried once, and the policy limits the attempts in total and those that end by a deadline, each of
//! which makes the user wait.

use super::event::{Failed, FailureReason, Placed, PlacementFailure, ReportPosition, TenancyEvent};
use super::instance::Instance;
use super::policy::Facts;
use crate::ids::{BackendId, InstanceId};
use crate::placement::place;

/// Places the instance on another backend, or fails it.
pub(super) fn place_again_or_fail(
    instance_id: InstanceId,
    instance: &Instance,
    failure: PlacementFailure,
    report: Option<ReportPosition>,
    facts: &Facts,
) -> TenancyEvent {
    let failures = || instance.placement_failures.iter().chain([&failure]);
    let tried: Vec<BackendId> = failures().map(|failure| failure.backend_id).collect();
    let late = failures().filter(|failure| failure.reason == FailureReason::Late).count();
    let may_retry = tried.len() < facts.policy.max_attempts && late < facts.policy.max_late_backends;
    match place(&facts.candidates, &instance.demand(), &tried, facts.tie_breaker) {
        Ok(choice) if may_retry => TenancyEvent::Placed(Placed {
            instance_id,
            placement: instance.placement + 1,
            choice,
            deadline: facts.now.after(facts.policy.create_within),
            failure,
        }),
        _ => {
            let generation = instance.generation;
            // A container that exists may still start, for example when the engine is well again.
            let abandons_placement = instance.last_observation().is_none();
            TenancyEvent::Failed(Failed { instance_id, generation, failure, abandons_placement, report })
        }
    }
}
