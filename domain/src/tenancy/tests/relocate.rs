//! Moves to another backend: of instances on a lost one, and on a drained one.

use super::fixtures::*;
use crate::ids::BackendId;
use crate::placement::{Ineligible, NoCandidate};
use crate::tenancy::event::{ChangeRequested, MoveReason, Moved, OnLost, Requested, StopReason, TenancyEvent};
use crate::tenancy::{
    HandleBackendLost, LastMove, MoveInstance, MoveRejected, Occasion, ResumeTenancy, Status, StopForDrain,
    SuspendTenancy, Tenancy,
};
use crate::testing::{Given, at, given};
use crate::wire::{DesiredState, Phase, ReportKind};

/// The second at which the backend of the tests was lost.
const LOST: i64 = 100;
/// The first second at which its instances are moved.
const DUE: i64 = LOST + 300;

fn recreate(history: Vec<TenancyEvent>) -> Given<Tenancy> {
    let mut history = history.into_iter();
    history.next();
    given([TenancyEvent::Requested(Requested { on_lost: OnLost::Recreate, ..requested(WEB, "web") })]).and(history)
}

fn lost(now: i64, backends: &[BackendId]) -> MoveInstance {
    let occasion = Occasion::LostSince(at(LOST));
    MoveInstance { backend_id: A, instance_id: WEB, occasion, facts: facts_with(now, backends) }
}

fn moved(placement: u32, generation: u32, reason: MoveReason, deadline: i64) -> TenancyEvent {
    let choice = choice(B, 2);
    TenancyEvent::Moved(Moved {
        instance_id: WEB,
        placement,
        generation,
        from: A,
        choice,
        deadline: at(deadline),
        reason,
    })
}

#[test]
fn instance_that_waits_is_never_moved() {
    let running = given(history::running()).when(lost(DUE, &[A, B, C])).then_nothing();
    running.when(MoveInstance { occasion: Occasion::Drain, ..lost(DUE, &[A, B, C]) }).then_nothing();
}

#[test]
fn instance_on_a_backend_that_is_lost_for_long_is_created_again_elsewhere_and_its_old_container_is_fenced() {
    let early = MoveRejected::TooEarly { at: at(DUE) };
    let none = NoCandidate(vec![(A, Ineligible::AlreadyTried)]);
    let instance = recreate(history::running())
        .when(lost(DUE - 1, &[B, C]))
        .then_rejected(early)
        // An empty backend that was lost is none to move to.
        .when(lost(DUE, &[A]))
        .then_rejected(MoveRejected::NoCandidate(none))
        .when(lost(DUE, &[A, B, C]))
        .then(moved(2, 2, MoveReason::BackendLost, DUE + 15))
        .when(lost(DUE, &[A, B, C]))
        .then_nothing();
    let state = instance.state.instance(WEB).unwrap();
    assert_eq!((state.status(), state.pending_removals.get(&A)), (Status::Creating, Some(&1)));
    assert!(matches!(state.last_move, Some(LastMove { from: A, reason: MoveReason::BackendLost, .. })));
    assert_eq!(state.old_container_on(), Some(A));
    // What the lost backend still says about its container changes nothing, and its removal is recorded.
    let instance = instance.when(report(A, 1, 1, status(Phase::Running), 7)).then_nothing();
    let instance = instance.when(report(A, 1, 2, ReportKind::InstanceDeleted, 8)).then(released(A, 1));
    assert_eq!(instance.state.instance(WEB).unwrap().old_container_on(), None);
    let created = report(B, 2, 2, ReportKind::InstanceCreated(observation(Phase::Running)), 9);
    let event = created_event(&instance, &created);
    let instance = instance.when(created).then(event);
    assert_eq!(instance.state.instance(WEB).unwrap().status(), Status::Running);
}

fn created_event(instance: &Given<Tenancy>, report: &crate::tenancy::HandleReport) -> TenancyEvent {
    use crate::aggregate::Command;
    report.decide(&instance.state).unwrap().unwrap()
}

#[test]
fn instance_that_is_stopped_deleted_or_changing_is_not_moved_when_its_backend_is_lost() {
    for history in
        [history::stopped(), history::stopping(), history::deleting(), history::recovering(), history::created()]
    {
        recreate(history).when(lost(DUE, &[B, C])).then_nothing();
    }
    let running = recreate(history::running()).when(SuspendTenancy).then(TenancyEvent::Suspended(Default::default()));
    let suspended = running.when(lost(DUE, &[B, C])).then_nothing();
    let resumed = suspended.when(ResumeTenancy).then(TenancyEvent::Resumed(Default::default()));
    resumed.when(lost(DUE, &[B, C])).then(moved(2, 2, MoveReason::BackendLost, DUE + 15));
}

/// Without a container there is nothing to wait for.
#[test]
fn instance_without_a_container_is_placed_again_at_once() {
    let lost_now = HandleBackendLost { backend_id: A, instance_id: WEB, facts: facts_with(10, &[B, C]) };
    let creating = recreate(history::creating()).when(lost(DUE, &[B, C])).then_nothing();
    let failure = failure(A, crate::tenancy::event::FailureReason::Lost);
    creating.when(lost_now).then(placed(2, choice(B, 2), failure, at(25)));
}

#[test]
fn instance_on_a_drained_backend_is_stopped_before_it_is_moved() {
    let drain = |now, backends: &[BackendId]| MoveInstance { occasion: Occasion::Drain, ..lost(now, backends) };
    let policy = crate::tenancy::Policy::default();
    let stop = StopForDrain { backend_id: A, instance_id: WEB, now: at(10), policy };
    let reason = Some(StopReason::BackendDrained);
    let stopping = TenancyEvent::StopRequested(ChangeRequested { reason, ..change_requested(2, 40) });
    let stopping = recreate(history::running()).when(drain(10, &[B, C])).then_nothing().when(stop).then(stopping);
    let stopped = stopping.when(drain(11, &[B, C])).then_nothing().and([observed(2, Phase::Stopped, 2)]);
    let moved = stopped.clone().when(drain(12, &[A, B, C])).then(moved(2, 3, MoveReason::BackendDrained, 27));
    let state = moved.state.instance(WEB).unwrap();
    assert_eq!((state.desired, state.stop_reason), (DesiredState::Running, None));
    assert_eq!(state.old_container_on(), None, "it is stopped");
    // Its owner stopped it.
    recreate(history::stopped()).when(drain(100, &[B, C])).then_nothing();
}
