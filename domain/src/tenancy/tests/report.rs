//! A backend reports: what counts, what doesn't, and what it should not hold.

use super::build::*;
use crate::tenancy::event::{Deleted, DeletionOutcome, FailureReason, Observed, TenancyEvent};
use crate::tenancy::{Facts, HandleReport, OperationKind, Policy, Progress, ReportRejected, Status, Tenancy};
use crate::testing::{at, given};
use crate::wire::{DesiredState, Observation, Phase, Ports, ReportKind};

fn status_of(past: Vec<TenancyEvent>) -> Status {
    given::<Tenancy>(past).state.instance(WEB).unwrap().status()
}

fn created(phase: Phase) -> ReportKind {
    ReportKind::InstanceCreated(container(phase))
}

/// It was refused by `A`, and is on `B` by second 115.
fn on_b() -> TenancyEvent {
    placed(2, choice(B, 2), refusal(A, "no_ports"), at(115))
}

mod of_a_container {
    use super::*;

    #[test]
    fn running_settles_a_create() {
        let running = given(past::creating()).when(report(A, 1, 1, created(Phase::Running), 1)).then(observed(
            1,
            Phase::Running,
            1,
        ));
        assert_eq!(running.state.instance(WEB).unwrap().status(), Status::Running);
    }

    #[test]
    fn what_went_wrong_before_it_ran_is_over() {
        let running = Observed {
            instance_id: WEB,
            placement: 2,
            generation: 1,
            observation: container(Phase::Running),
            report: position(2),
            deadline: None,
        };
        let tenancy = given(past::creating())
            .and([on_b()])
            .when(report(B, 2, 1, created(Phase::Running), 2))
            .then(TenancyEvent::Observed(running));
        assert_eq!(tenancy.state.instance(WEB).unwrap().placement_failures, []);
    }

    #[test]
    fn each_change_settles_with_its_own_generation() {
        let stopped = given(past::stopping()).when(report(A, 1, 2, status(Phase::Stopped), 2)).then(observed(
            2,
            Phase::Stopped,
            2,
        ));
        assert_eq!(stopped.state.instance(WEB).unwrap().status(), Status::Stopped);
        let resumed = given(past::resuming()).when(report(A, 1, 3, status(Phase::Running), 3)).then(observed(
            3,
            Phase::Running,
            3,
        ));
        assert_eq!(resumed.state.instance(WEB).unwrap().status(), Status::Running);
    }

    #[test]
    fn an_older_generation_is_recorded_and_completes_nothing() {
        let stop = TenancyEvent::StopRequested(change_requested(2, 40));
        let tenancy = given(past::creating())
            .and([stop])
            .when(report(A, 1, 1, created(Phase::Stopped), 1))
            .then(observed(1, Phase::Stopped, 1));
        let instance = tenancy.state.instance(WEB).unwrap();
        assert_eq!(instance.status(), Status::Stopping);
        assert!(instance.last_observation().is_some());
    }

    #[test]
    fn a_generation_older_than_one_seen_does_not_count() {
        given(past::stopped()).when(report(A, 1, 1, status(Phase::Running), 3)).then_nothing();
    }

    #[test]
    fn a_generation_that_nobody_asked_for_does_not_count() {
        given(past::creating()).when(report(A, 1, 2, created(Phase::Running), 1)).then_nothing();
    }

    #[test]
    fn the_same_again_changes_nothing() {
        given(past::running()).when(report(A, 1, 1, status(Phase::Running), 2)).then_nothing();
        given(past::recovering()).when(report(A, 1, 1, status(Phase::Stopped), 3)).then_nothing();
        given(past::failed())
            .and([observed(2, Phase::Running, 2)])
            .when(report(A, 1, 2, status(Phase::Running), 3))
            .then_nothing();
    }

    #[test]
    fn other_ports_are_recorded_and_it_stays_settled() {
        let ports = Ports { ssh: 21000, http: 21001, https: 21002 };
        let seen = Observation { ports, host_keys: vec!["SHA256:x".to_owned()], ..container(Phase::Running) };
        let tenancy = given(past::running()).when(report(A, 1, 1, ReportKind::InstanceStatus(seen.clone()), 2)).then(
            TenancyEvent::Observed(Observed {
                instance_id: WEB,
                placement: 1,
                generation: 1,
                observation: seen,
                report: position(2),
                deadline: None,
            }),
        );
        assert_eq!(tenancy.state.instance(WEB).unwrap().progress, Progress::Stable);
    }

    #[test]
    fn a_container_that_stopped_by_itself_has_until_a_deadline_to_run_again() {
        let tenancy = given(past::running()).when(report(A, 1, 1, status(Phase::Stopped), 2)).then(observed_until(
            1,
            Phase::Stopped,
            2,
            Some(at(130)),
        ));
        let pending = Progress::Pending { operation_kind: OperationKind::Resume, operation: None, deadline: at(130) };
        assert_eq!(tenancy.state.instance(WEB).unwrap().progress, pending);
        tenancy.when(report(A, 1, 1, status(Phase::Running), 3)).then(observed(1, Phase::Running, 3));
    }

    #[test]
    fn a_container_that_started_by_itself_has_the_time_of_a_stop_to_end() {
        let policy = Policy { stop_within: std::time::Duration::from_secs(7), ..Policy::default() };
        let mut running = report(A, 1, 2, status(Phase::Running), 3);
        running.facts.policy = policy;
        let tenancy =
            given(past::stopped()).when(running).then(observed_until(2, Phase::Running, 3, Some(at(100 + 7))));
        let pending = Progress::Pending { operation_kind: OperationKind::Stop, operation: None, deadline: at(107) };
        assert_eq!(tenancy.state.instance(WEB).unwrap().progress, pending);
    }

    #[test]
    fn what_failed_heals_when_it_is_seen_as_wanted() {
        given(past::failed()).when(report(A, 1, 2, status(Phase::Stopped), 2)).then(observed(2, Phase::Stopped, 2));
        // Also when nothing about the container is new.
        given(past::running())
            .and([failed(1, setback(A, FailureReason::Failed(trouble("runtime_error"))), Some(2))])
            .when(report(A, 1, 1, status(Phase::Running), 3))
            .then(observed(1, Phase::Running, 3));
    }

    #[test]
    fn whatever_is_still_seen_of_a_deleted_one_does_not_count() {
        given(past::deleting()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
        given(past::abandoned()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
    }
}

mod order {
    use super::*;

    #[test]
    fn a_repeated_or_older_report_does_not_count() {
        // `recovering` ends with the report at 2.
        given(past::recovering()).when(report(A, 1, 1, status(Phase::Running), 2)).then_nothing();
        given(past::recovering()).when(report(A, 1, 1, status(Phase::Running), 1)).then_nothing();
        given(past::running()).when(report(A, 1, 1, could_not("container_gone"), 1)).then_nothing();
    }

    #[test]
    fn what_was_seen_before_a_failure_does_not_heal_it() {
        given(past::running())
            .when(report(A, 1, 1, could_not("container_gone"), 5))
            .then(failed(1, setback(A, FailureReason::Failed(trouble("container_gone"))), Some(5)))
            .when(report(A, 1, 1, status(Phase::Running), 4))
            .then_nothing()
            .when(report(A, 1, 1, status(Phase::Running), 6))
            .then(observed(1, Phase::Running, 6));
    }

    #[test]
    fn of_two_failures_the_later_one_stays() {
        let because = |code| setback(A, FailureReason::Failed(trouble(code)));
        given(past::running())
            .when(report(A, 1, 1, could_not("first"), 5))
            .then(failed(1, because("first"), Some(5)))
            .when(report(A, 1, 1, could_not("second"), 6))
            .then(failed(1, because("second"), Some(6)))
            .when(report(A, 1, 1, could_not("first"), 5))
            .then_nothing();
    }

    #[test]
    fn a_deadline_takes_nothing_from_the_order_of_reports() {
        given(past::failed()).when(report(A, 1, 2, status(Phase::Stopped), 1)).then_nothing();
    }

    #[test]
    fn a_stream_made_anew_counts_from_its_birth() {
        let again = |incarnation| {
            let mut report = report(A, 1, 1, status(Phase::Running), 1);
            report.position.incarnation = incarnation;
            report
        };
        given(past::recovering()).when(again(0)).then_nothing();
        let report = again(2);
        let (seen, position) = (container(Phase::Running), report.position);
        given(past::recovering()).when(report).then(TenancyEvent::Observed(Observed {
            instance_id: WEB,
            placement: 1,
            generation: 1,
            observation: seen,
            report: position,
            deadline: None,
        }));
    }
}

mod of_trouble {
    use super::*;

    #[test]
    fn a_refused_create_goes_elsewhere_until_no_machine_is_left() {
        let tenancy = given(past::creating())
            .when(report(A, 1, 1, refused("no_capacity"), 1))
            .then(placed(2, choice(B, 2), refusal(A, "no_capacity"), at(115)))
            .when(report(B, 2, 1, could_not("image_missing"), 2))
            .then(placed(3, choice(C, 1), setback(B, FailureReason::Failed(trouble("image_missing"))), at(115)))
            .when(report(C, 3, 1, refused("no_ports"), 3))
            .then(given_up(1, refusal(C, "no_ports"), Some(3)));
        let instance = tenancy.state.instance(WEB).unwrap();
        let before = [refusal(A, "no_capacity"), setback(B, FailureReason::Failed(trouble("image_missing")))];
        assert_eq!(instance.placement_failures, before);
        assert_eq!(instance.progress, Progress::Failed { failure: refusal(C, "no_ports") }, "all reasons are known");
        assert_eq!(instance.current_placement, None);
        assert_eq!(instance.pending_removals, [(A, 1), (B, 2), (C, 3)].into());
    }

    #[test]
    fn only_as_many_machines_are_tried_as_the_policy_says() {
        let mut refusal_of_a = report(A, 1, 1, refused("no_ports"), 1);
        refusal_of_a.facts.policy = Policy { max_attempts: 1, ..Policy::default() };
        given(past::creating()).when(refusal_of_a).then(given_up(1, refusal(A, "no_ports"), Some(1)));
    }

    #[test]
    fn the_second_time_one_reports_it_is_another_machines_turn() {
        given(past::creating()).and([on_b()]).when(report(A, 1, 1, refused("no_ports"), 1)).then_nothing();
    }

    #[test]
    fn a_lost_container_fails_and_is_not_replaced() {
        for past in [past::running(), past::recovering()] {
            given(past).when(report(A, 1, 1, could_not("container_gone"), 9)).then(failed(
                1,
                setback(A, FailureReason::Failed(trouble("container_gone"))),
                Some(9),
            ));
        }
    }

    #[test]
    fn the_same_trouble_again_changes_nothing() {
        given(past::running())
            .and([failed(1, setback(A, FailureReason::Failed(trouble("x"))), Some(5))])
            .when(report(A, 1, 1, could_not("x"), 6))
            .then_nothing();
    }

    #[test]
    fn trouble_with_what_is_no_longer_wanted_is_over() {
        let stop = TenancyEvent::StopRequested(change_requested(2, 40));
        given(past::creating()).and([stop]).when(report(A, 1, 1, refused("no_ports"), 1)).then_nothing();
        given(past::stopping()).when(report(A, 1, 1, could_not("runtime_error"), 2)).then_nothing();
    }

    #[test]
    fn a_deletion_cannot_be_refused() {
        given(past::deleting()).when(report(A, 1, 2, refused("no_ports"), 2)).then_nothing();
        given(past::deleting()).when(report(A, 1, 2, could_not("runtime_error"), 2)).then_nothing();
    }
}

mod of_an_end {
    use super::*;

    #[test]
    fn a_deletion_is_confirmed() {
        given(past::deleting())
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then(deleted(2, DeletionOutcome::Confirmed { backend_id: A }))
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then_nothing();
    }

    #[test]
    fn an_end_before_the_wish_confirms_nothing() {
        given(past::running()).when(report(A, 1, 1, ReportKind::InstanceDeleted, 2)).then_nothing();
        given(past::deleting()).when(report(A, 1, 1, ReportKind::InstanceDeleted, 2)).then_nothing();
    }

    #[test]
    fn an_abandoned_container_is_released_when_its_machine_comes_back() {
        let tenancy = given(past::abandoned())
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then(released(A, 1))
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then_nothing();
        let instance = tenancy.state.instance(WEB).unwrap();
        assert!(instance.pending_removals.is_empty());
        assert_eq!(instance.last_activity, at(4), "it ended for its user with its deletion, the fourth event");
    }

    #[test]
    fn a_placement_given_up_is_released_without_touching_the_new_one() {
        let tenancy = given(past::creating())
            .and([on_b()])
            .when(report(A, 1, 1, ReportKind::InstanceDeleted, 1))
            .then(released(A, 1));
        let instance = tenancy.state.instance(WEB).unwrap();
        assert_eq!((instance.status(), instance.placement), (Status::Creating, 2));
    }

    #[test]
    fn the_end_of_an_older_container_does_not_release_a_newer_one() {
        given(past::creating())
            .and([on_b()])
            .and([given_up(1, refusal(B, "no_ports"), Some(2))])
            .when(report(B, 1, 1, ReportKind::InstanceDeleted, 3))
            .then_nothing();
    }
}

mod of_what_it_should_not_hold {
    use super::*;

    fn leftover(past: Vec<TenancyEvent>, by: HandleReport) {
        given(past).when(by).then_rejected(ReportRejected::OrphanedContainer);
    }

    #[test]
    fn a_container_that_nobody_wants_there_must_be_removed() {
        for news in [created(Phase::Running), status(Phase::Stopped)] {
            leftover(past::running(), report(B, 1, 1, news.clone(), 2));
            leftover(past::deleted(), report(A, 1, 2, news.clone(), 2));
            leftover(vec![], report(A, 1, 1, news, 1));
        }
    }

    #[test]
    fn one_that_its_machine_is_already_told_to_remove_is_no_news() {
        given(past::abandoned()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
        given(past::never_created()).when(report(A, 1, 1, created(Phase::Running), 2)).then_nothing();
    }

    #[test]
    fn an_older_or_unknown_placement_on_the_same_machine_is_superseded_by_the_one_there() {
        given(past::running()).when(report(A, 0, 1, status(Phase::Running), 2)).then_nothing();
        given(past::running()).when(report(A, 2, 1, status(Phase::Running), 2)).then_nothing();
    }

    #[test]
    fn trouble_with_or_the_end_of_something_unknown_is_no_news() {
        for news in [ReportKind::InstanceDeleted, refused("no_ports"), could_not("runtime_error")] {
            given::<Tenancy>([]).when(report(A, 1, 1, news.clone(), 1)).then_nothing();
            given(past::running()).when(report(B, 1, 1, news, 2)).then_nothing();
        }
    }
}

#[test]
fn another_machine_cannot_speak_of_an_instance() {
    let foreign = |news| HandleReport { facts: Facts { now: at(1), ..facts(1) }, ..report(B, 1, 1, news, 9) };
    given(past::creating()).when(foreign(refused("no_ports"))).then_nothing();
    given(past::deleting()).when(foreign(ReportKind::InstanceDeleted)).then_nothing();
    given(past::creating()).when(foreign(created(Phase::Running))).then_rejected(ReportRejected::OrphanedContainer);
}

#[test]
fn a_fold_is_total() {
    // An event about a placement that was given up, or about an instance that is forgotten, breaks nothing.
    let stray = [
        observed(1, Phase::Running, 9),
        deleted(2, DeletionOutcome::Unplaced),
        released(C, 9),
        TenancyEvent::Deleted(Deleted { instance_id: CI, generation: 1, outcome: DeletionOutcome::Unplaced }),
    ];
    assert_eq!(status_of(past::never_created().into_iter().chain(stray).collect()), Status::Deleted);
    assert_eq!(given::<Tenancy>(past::deleted()).state.instance(WEB).unwrap().desired, DesiredState::Deleted);
}
