//! What follows when a placement did not work out before any container was seen: another machine, or the end.
//!
//! In: the instance, what went wrong, the machines. Out: `placed` elsewhere, or `failed`. Bounded: each machine is
//! tried once, only so many in all, and only so many may be late (each late one costs its user the whole deadline).

use super::event::{Failed, FailureReason, Placed, PlacementFailure, ReportPosition, TenancyEvent};
use super::instance::Instance;
use super::policy::Facts;
use crate::ids::{BackendId, InstanceId};
use crate::placement::place;

pub(super) fn elsewhere(
    instance_id: InstanceId,
    instance: &Instance,
    setback: PlacementFailure,
    report: Option<ReportPosition>,
    facts: &Facts,
) -> TenancyEvent {
    let mut tried: Vec<BackendId> = instance.placement_failures.iter().map(|before| before.backend_id).collect();
    tried.push(setback.backend_id);
    let late = instance.placement_failures.iter().chain([&setback]).filter(|s| s.reason == FailureReason::Late).count();
    let may_try = tried.len() < facts.policy.max_attempts && late < facts.policy.max_late_backends;
    match place(&facts.candidates, &tried, facts.tie_breaker) {
        Ok(choice) if may_try => TenancyEvent::Placed(Placed {
            instance_id,
            placement: instance.placement + 1,
            choice,
            deadline: facts.now.after(facts.policy.create_within),
            failure: setback,
        }),
        _ => {
            let generation = instance.generation;
            TenancyEvent::Failed(Failed { instance_id, generation, failure: setback, abandons_placement: true, report })
        }
    }
}
