//! The group of the user has ended: what runs is stopped.

use super::fixtures::*;
use crate::tenancy::event::{ChangeRequested, StopReason, TenancyEvent};
use crate::tenancy::{AdministerInstance, Policy, StopForGroup, Tenancy};
use crate::testing::{at, given};
use crate::wire::DesiredState;

/// Decided at second 50.
fn stop(ended_at: i64) -> StopForGroup {
    StopForGroup { instance_id: WEB, ended_at: at(ended_at), now: at(50), policy: Policy::default() }
}

fn stop_requested(generation: u32) -> TenancyEvent {
    let deadline = at(50).after(Policy::default().stop_within);
    let reason = Some(StopReason::GroupEnded);
    TenancyEvent::StopRequested(ChangeRequested { instance_id: WEB, generation, deadline, reason, moved_by: None })
}

#[test]
fn stop_for_group_stops_once_what_runs_or_shall_run() {
    for (history, generation) in [(history::running(), 2), (history::recovering(), 2), (history::resuming(), 4)] {
        let tenancy = given::<Tenancy>(history).when(stop(50)).then(stop_requested(generation));
        assert_eq!(tenancy.state.instance(WEB).unwrap().stop_reason, Some(StopReason::GroupEnded));
        tenancy.when(stop(50)).then_nothing();
    }
}

#[test]
fn stop_for_group_leaves_alone_what_does_not_run() {
    for history in history::neither_running_nor_resuming() {
        given(history).when(stop(50)).then_nothing();
    }
    given::<Tenancy>([]).when(stop(50)).then_nothing();
}

#[test]
fn stop_for_group_before_the_end_does_nothing() {
    given(history::running()).when(stop(51)).then_nothing();
}

/// What an administrator resumes after the end goes on running. The times of events in these tests are near 0.
#[test]
fn stop_for_group_leaves_alone_what_an_administrator_resumed_since() {
    let resume = AdministerInstance { change: change(WEB, DesiredState::Running, 40), reason: None };
    let event = crate::aggregate::Command::decide(&resume, &given::<Tenancy>(history::stopped()).state).unwrap();
    let tenancy = given::<Tenancy>(history::stopped()).and(event);
    let resumed_at = tenancy.state.instance(WEB).unwrap().administered.as_ref().unwrap().at;
    let stop = |ended_at| StopForGroup { ended_at, now: at(50), instance_id: WEB, policy: Policy::default() };
    let tenancy = tenancy.when(stop(resumed_at)).then_nothing();
    // Resumed before the end.
    let later = resumed_at.after(std::time::Duration::from_millis(1));
    tenancy.when(stop(later)).then(stop_requested(4));
}
