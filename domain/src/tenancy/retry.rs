//! What follows when a placement fails before a container was observed.
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
    match place(&facts.candidates, &tried, facts.tie_breaker) {
        Ok(choice) if may_retry => TenancyEvent::Placed(Placed {
            instance_id,
            placement: instance.placement + 1,
            choice,
            deadline: facts.now.after(facts.policy.create_within),
            failure,
        }),
        _ => {
            let generation = instance.generation;
            TenancyEvent::Failed(Failed { instance_id, generation, failure, abandons_placement: true, report })
        }
    }
}
