//! Suspending a tenancy because the account was disabled.

use super::fixtures::*;
use crate::tenancy::event::{CloseReason, Closed, Resumed, Suspended, TenancyEvent};
use crate::tenancy::{ChangeRejected, RequestRejected, ResumeTenancy, SuspendTenancy};
use crate::testing::given;
use crate::wire::DesiredState;

fn suspended() -> TenancyEvent {
    TenancyEvent::Suspended(Suspended {})
}

#[test]
fn tenancy_suspended_creates_and_resumes_nothing_until_it_is_resumed() {
    let tenancy = given(history::stopped())
        .when(ResumeTenancy)
        .then_nothing()
        .when(SuspendTenancy)
        .then(suspended())
        .when(SuspendTenancy)
        .then_nothing()
        .when(request(DB))
        .then_rejected(RequestRejected::Suspended)
        .when(change(WEB, DesiredState::Running, 100))
        .then_rejected(ChangeRejected::Suspended)
        .when(ResumeTenancy)
        .then(TenancyEvent::Resumed(Resumed {}));
    let generation = tenancy.state.instance(WEB).unwrap().generation;
    let policy = crate::tenancy::Policy::default();
    let deadline = 100 + i64::try_from(policy.resume_within.as_secs()).unwrap();
    tenancy
        .when(change(WEB, DesiredState::Running, 100))
        .then(TenancyEvent::ResumeRequested(change_requested(generation + 1, deadline)));
}

#[test]
fn tenancy_suspended_stops_and_deletes_instances() {
    for to in [DesiredState::Stopped, DesiredState::Deleted] {
        let tenancy = given(history::running()).and([suspended()]);
        let decided = crate::aggregate::Command::decide(&change(WEB, to, 100), &tenancy.state);
        assert!(matches!(decided, Ok(Some(_))), "{to:?}: {decided:?}");
    }
}

#[test]
fn tenancy_closed_is_not_suspended() {
    given([TenancyEvent::Closed(Closed { reason: CloseReason::Erased })]).when(SuspendTenancy).then_nothing();
}
