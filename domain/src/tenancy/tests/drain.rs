//! A backend is drained: what runs on it is stopped.

use super::fixtures::*;
use crate::ids::BackendId;
use crate::tenancy::event::{ChangeRequested, StopReason, TenancyEvent};
use crate::tenancy::{DrainStep, Policy, StopForDrain, Tenancy};
use crate::testing::{at, given};
use crate::wire::{DesiredState, Phase};

fn stop(backend_id: BackendId) -> StopForDrain {
    StopForDrain { backend_id, instance_id: WEB, now: at(50), policy: Policy::default() }
}

fn stop_requested(generation: u32) -> TenancyEvent {
    let deadline = at(50).after(Policy::default().stop_within);
    let reason = Some(StopReason::BackendDrained);
    TenancyEvent::StopRequested(ChangeRequested { instance_id: WEB, generation, deadline, reason, moved_by: None })
}

#[test]
fn stop_for_drain_stops_what_runs_or_shall_run() {
    for (history, generation) in [(history::running(), 2), (history::recovering(), 2), (history::resuming(), 4)] {
        let tenancy = given::<Tenancy>(history).when(stop(A)).then(stop_requested(generation));
        tenancy.when(stop(A)).then_nothing();
    }
}

#[test]
fn stop_for_drain_leaves_alone_what_does_not_run_there() {
    for history in history::neither_running_nor_resuming() {
        given(history).when(stop(A)).then_nothing();
    }
    given(history::running()).when(stop(B)).then_nothing();
    given::<Tenancy>([]).when(stop(A)).then_nothing();
}

#[test]
fn drain_step_says_how_far_each_instance_is() {
    let step = |history: Vec<TenancyEvent>| {
        let tenancy = given::<Tenancy>(history).state;
        let step = tenancy.instance(WEB).unwrap().drain_step(A).map(|step| match step {
            DrainStep::Running => "running",
            DrainStep::Creating => "creating",
            DrainStep::Ending => "ending",
            DrainStep::Stopped => "stopped",
            DrainStep::Stayed(_) => "stayed",
        });
        step.unwrap_or("not there")
    };
    for (history, expected) in [
        (history::creating(), "creating"),
        (history::created(), "creating"),
        (history::running(), "running"),
        (history::recovering(), "running"),
        (history::resuming(), "running"),
        (history::stopping(), "ending"),
        (history::deleting(), "ending"),
        (history::stopped(), "stopped"),
        (history::failed(), "stayed"),
        (history::never_created(), "not there"),
        (history::deleted(), "not there"),
        (history::abandoned(), "not there"),
    ] {
        assert_eq!(step(history.clone()), expected, "{history:?}");
    }
}

/// Its owner reads why, until something else happens to it.
#[test]
fn stop_for_drain_gives_a_reason_until_the_next_change() {
    let reason = |tenancy: &Tenancy| tenancy.instance(WEB).unwrap().stop_reason;
    let tenancy = given(history::running()).when(stop(A)).then(stop_requested(2));
    assert_eq!(reason(&tenancy.state), Some(StopReason::BackendDrained));
    let tenancy = tenancy.and([observed(2, Phase::Stopped, 2)]);
    assert_eq!(reason(&tenancy.state), Some(StopReason::BackendDrained));
    for to in [DesiredState::Running, DesiredState::Deleted] {
        let changed = tenancy.clone();
        let event = crate::aggregate::Command::decide(&change(WEB, to, 60), &changed.state).unwrap();
        assert_eq!(reason(&changed.and(event).state), None, "{to:?}");
    }
}
