//! Reports of a backend: which are applied, ignored or rejected.

use super::fixtures::*;
use crate::reported::HostKeys;
use crate::tenancy::event::{Deleted, DeletionOutcome, FailureReason, Observed, RecordedObservation, TenancyEvent};
use crate::tenancy::{Facts, HandleReport, OperationKind, Policy, Progress, ReportRejected, Status, Tenancy};
use crate::testing::{at, given};
use crate::wire::{ContainerEnd, DesiredState, Observation, Phase, Ports, ReportKind};

fn status_of(history: Vec<TenancyEvent>) -> Status {
    given::<Tenancy>(history).state.instance(WEB).unwrap().status()
}

fn created(phase: Phase) -> ReportKind {
    ReportKind::InstanceCreated(observation(phase))
}

/// Placed on `B` after `A` refused, with the deadline at second 115.
fn on_b() -> TenancyEvent {
    placed(2, choice(B, 2), refusal(A, "no_ports"), at(115))
}

mod observations {
    use super::*;

    #[test]
    fn report_running_completes_a_create() {
        let running = given(history::creating()).when(report(A, 1, 1, created(Phase::Running), 1)).then(observed(
            1,
            Phase::Running,
            1,
        ));
        assert_eq!(running.state.instance(WEB).unwrap().status(), Status::Running);
    }

    #[test]
    fn report_running_clears_the_placement_failures() {
        let running = Observed {
            instance_id: WEB,
            placement: 2,
            generation: 1,
            observation: RecordedObservation::from(&observation(Phase::Running)),
            report: position(2),
            deadline: None,
        };
        let tenancy = given(history::creating())
            .and([on_b()])
            .when(report(B, 2, 1, created(Phase::Running), 2))
            .then(TenancyEvent::Observed(running));
        assert_eq!(tenancy.state.instance(WEB).unwrap().placement_failures, []);
    }

    #[test]
    fn report_of_the_current_generation_completes_each_change() {
        let stopped = given(history::stopping()).when(report(A, 1, 2, status(Phase::Stopped), 2)).then(observed(
            2,
            Phase::Stopped,
            2,
        ));
        assert_eq!(stopped.state.instance(WEB).unwrap().status(), Status::Stopped);
        let resumed = given(history::resuming()).when(report(A, 1, 3, status(Phase::Running), 3)).then(observed(
            3,
            Phase::Running,
            3,
        ));
        assert_eq!(resumed.state.instance(WEB).unwrap().status(), Status::Running);
    }

    #[test]
    fn report_of_a_lower_generation_is_recorded_and_completes_nothing() {
        let stop = TenancyEvent::StopRequested(change_requested(2, 40));
        let tenancy = given(history::creating())
            .and([stop])
            .when(report(A, 1, 1, created(Phase::Stopped), 1))
            .then(observed(1, Phase::Stopped, 1));
        let instance = tenancy.state.instance(WEB).unwrap();
        assert_eq!(instance.status(), Status::Stopping);
        assert!(instance.last_observation().is_some());
    }

    #[test]
    fn report_of_a_generation_below_the_observed_one_is_ignored() {
        given(history::stopped()).when(report(A, 1, 1, status(Phase::Running), 3)).then_nothing();
    }

    #[test]
    fn report_of_a_future_generation_is_ignored() {
        given(history::creating()).when(report(A, 1, 2, created(Phase::Running), 1)).then_nothing();
    }

    #[test]
    fn report_without_a_change_is_ignored() {
        given(history::running()).when(report(A, 1, 1, status(Phase::Running), 2)).then_nothing();
        given(history::recovering()).when(report(A, 1, 1, status(Phase::Stopped), 3)).then_nothing();
        given(history::failed())
            .and([observed(2, Phase::Running, 2)])
            .when(report(A, 1, 2, status(Phase::Running), 3))
            .then_nothing();
    }

    #[test]
    fn report_of_other_ports_is_recorded_and_stays_stable() {
        let ports = Ports { ssh: 21000, http: 21001, https: 21002 };
        let observation = Observation {
            ports,
            host_keys: HostKeys::of(["SHA256:mVPwvezndPv/ARoIadVY98vAC0g+P/5633yTC4d/wXE"]),
            ..observation(Phase::Running)
        };
        let tenancy = given(history::running())
            .when(report(A, 1, 1, ReportKind::InstanceStatus(observation.clone()), 2))
            .then(TenancyEvent::Observed(Observed {
                instance_id: WEB,
                placement: 1,
                generation: 1,
                observation: RecordedObservation::from(&observation),
                report: position(2),
                deadline: None,
            }));
        assert_eq!(tenancy.state.instance(WEB).unwrap().progress, Progress::Stable);
    }

    /// Each end since the last request is counted; what is being resumed has ended before.
    #[test]
    fn report_that_a_container_ended_is_kept_with_its_cause_until_the_next_request() {
        let seen = |cause| Observation { ended: Some(cause), ..observation(Phase::Stopped) };
        let ended = |cause, generation, sequence, deadline| {
            TenancyEvent::Observed(Observed {
                instance_id: WEB,
                placement: 1,
                generation,
                observation: RecordedObservation::from(&seen(cause)),
                report: position(sequence),
                deadline,
            })
        };
        let last_end = |tenancy: &Tenancy| tenancy.instance(WEB).unwrap().last_end.map(|last| (last.cause, last.count));
        let report =
            |cause, generation, sequence| report(A, 1, generation, ReportKind::InstanceStatus(seen(cause)), sequence);
        let (oom, killed) = (ContainerEnd::OutOfMemory, ContainerEnd::Killed { signal: 9 });
        let tenancy = given(history::running()).when(report(oom, 1, 2)).then(ended(oom, 1, 2, Some(at(130))));
        assert_eq!(last_end(&tenancy.state), Some((oom, 1)));
        let tenancy = tenancy.and([observed(1, Phase::Running, 3)]);
        assert_eq!(last_end(&tenancy.state), Some((oom, 1)), "it is kept while it runs again");
        let tenancy = tenancy.when(report(killed, 1, 4)).then(ended(killed, 1, 4, Some(at(130))));
        assert_eq!(last_end(&tenancy.state), Some((killed, 2)));

        let tenancy = tenancy.and([TenancyEvent::StopRequested(change_requested(2, 140))]);
        assert_eq!(last_end(&tenancy.state), None);
        let resuming = given(history::resuming()).when(report(killed, 3, 3)).then(ended(killed, 3, 3, None));
        assert_eq!(last_end(&resuming.state), None);
    }

    #[test]
    fn report_of_an_exited_container_sets_a_deadline_to_run_again() {
        let tenancy = given(history::running()).when(report(A, 1, 1, status(Phase::Stopped), 2)).then(observed_until(
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
    fn report_of_a_container_started_without_a_request_sets_the_deadline_of_a_stop() {
        let policy = Policy { stop_within: std::time::Duration::from_secs(7), ..Policy::default() };
        let mut running = report(A, 1, 2, status(Phase::Running), 3);
        running.facts.policy = policy;
        let tenancy =
            given(history::stopped()).when(running).then(observed_until(2, Phase::Running, 3, Some(at(100 + 7))));
        let pending = Progress::Pending { operation_kind: OperationKind::Stop, operation: None, deadline: at(107) };
        assert_eq!(tenancy.state.instance(WEB).unwrap().progress, pending);
    }

    #[test]
    fn report_of_the_desired_state_ends_a_failure() {
        given(history::failed()).when(report(A, 1, 2, status(Phase::Stopped), 2)).then(observed(2, Phase::Stopped, 2));
        // Also without a change of the container.
        given(history::running())
            .and([failed(1, failure(A, FailureReason::Failed(recorded_error("runtime_error"))), Some(2))])
            .when(report(A, 1, 1, status(Phase::Running), 3))
            .then(observed(1, Phase::Running, 3));
    }

    #[test]
    fn report_of_a_container_to_be_deleted_is_ignored() {
        given(history::deleting()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
        given(history::abandoned()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
    }
}

mod order {
    use super::*;

    #[test]
    fn report_repeated_or_older_is_ignored() {
        // The last report of `recovering` has sequence 2.
        given(history::recovering()).when(report(A, 1, 1, status(Phase::Running), 2)).then_nothing();
        given(history::recovering()).when(report(A, 1, 1, status(Phase::Running), 1)).then_nothing();
        given(history::running()).when(report(A, 1, 1, agent_failed("container_gone"), 1)).then_nothing();
    }

    #[test]
    fn report_before_a_failure_does_not_end_it() {
        given(history::running())
            .when(report(A, 1, 1, agent_failed("container_gone"), 5))
            .then(failed(1, failure(A, FailureReason::Failed(recorded_error("container_gone"))), Some(5)))
            .when(report(A, 1, 1, status(Phase::Running), 4))
            .then_nothing()
            .when(report(A, 1, 1, status(Phase::Running), 6))
            .then(observed(1, Phase::Running, 6));
    }

    #[test]
    fn report_of_an_earlier_failure_is_ignored() {
        let because = |code| failure(A, FailureReason::Failed(recorded_error(code)));
        given(history::running())
            .when(report(A, 1, 1, agent_failed("first"), 5))
            .then(failed(1, because("first"), Some(5)))
            .when(report(A, 1, 1, agent_failed("second"), 6))
            .then(failed(1, because("second"), Some(6)))
            .when(report(A, 1, 1, agent_failed("first"), 5))
            .then_nothing();
    }

    #[test]
    fn report_before_the_last_one_is_ignored_after_a_deadline() {
        given(history::failed()).when(report(A, 1, 2, status(Phase::Stopped), 1)).then_nothing();
    }

    #[test]
    fn report_in_a_recreated_stream_is_newer() {
        let again = |incarnation| {
            let mut report = report(A, 1, 1, status(Phase::Running), 1);
            report.position.incarnation = incarnation;
            report
        };
        given(history::recovering()).when(again(0)).then_nothing();
        let report = again(2);
        let (observation, position) = (observation(Phase::Running), report.position);
        given(history::recovering()).when(report).then(TenancyEvent::Observed(Observed {
            instance_id: WEB,
            placement: 1,
            generation: 1,
            observation: RecordedObservation::from(&observation),
            report: position,
            deadline: None,
        }));
    }
}

mod failure_report {
    use super::*;

    #[test]
    fn report_refused_places_again_until_no_candidate_is_left() {
        let tenancy = given(history::creating())
            .when(report(A, 1, 1, agent_refused("no_capacity"), 1))
            .then(placed(2, choice(B, 2), refusal(A, "no_capacity"), at(115)))
            .when(report(B, 2, 1, agent_failed("image_missing"), 2))
            .then(placed(3, choice(C, 1), failure(B, FailureReason::Failed(recorded_error("image_missing"))), at(115)))
            .when(report(C, 3, 1, agent_refused("no_ports"), 3))
            .then(failed_unplaced(1, refusal(C, "no_ports"), Some(3)));
        let instance = tenancy.state.instance(WEB).unwrap();
        let before = [refusal(A, "no_capacity"), failure(B, FailureReason::Failed(recorded_error("image_missing")))];
        assert_eq!(instance.placement_failures, before);
        assert_eq!(instance.progress, Progress::Failed { failure: refusal(C, "no_ports") }, "the last failure");
        assert_eq!(instance.current_placement, None);
        assert_eq!(instance.pending_removals, [(A, 1), (B, 2), (C, 3)].into());
    }

    #[test]
    fn report_refused_at_the_limit_of_attempts_fails() {
        let mut refusal_of_a = report(A, 1, 1, agent_refused("no_ports"), 1);
        refusal_of_a.facts.policy = Policy { max_attempts: 1, ..Policy::default() };
        given(history::creating()).when(refusal_of_a).then(failed_unplaced(1, refusal(A, "no_ports"), Some(1)));
    }

    #[test]
    fn report_refused_of_an_earlier_placement_is_ignored() {
        given(history::creating()).and([on_b()]).when(report(A, 1, 1, agent_refused("no_ports"), 1)).then_nothing();
    }

    #[test]
    fn report_of_a_container_that_never_started_places_again() {
        let because = |backend| failure(backend, FailureReason::Failed(recorded_error("runtime_error")));
        let tenancy = given(history::created())
            .when(report(A, 1, 1, agent_failed("runtime_error"), 2))
            .then(placed(2, choice(B, 2), because(A), at(115)))
            .when(report(B, 2, 1, created(Phase::Running), 3))
            .then(TenancyEvent::Observed(Observed {
                instance_id: WEB,
                placement: 2,
                generation: 1,
                observation: RecordedObservation::from(&observation(Phase::Running)),
                report: position(3),
                deadline: None,
            }));
        assert_eq!(tenancy.state.instance(WEB).unwrap().pending_removals, [(A, 1)].into());
        // Once it has run, its files bind it to its backend.
        given(history::recovering()).when(report(A, 1, 1, agent_failed("runtime_error"), 9)).then(failed(
            1,
            because(A),
            Some(9),
        ));
    }

    #[test]
    fn report_of_a_container_that_never_started_without_a_candidate_keeps_the_placement() {
        let mut failed_on_a = report(A, 1, 1, agent_failed("runtime_error"), 2);
        failed_on_a.facts = facts_with(100, &[A]);
        let because = failure(A, FailureReason::Failed(recorded_error("runtime_error")));
        given(history::created()).when(failed_on_a).then(failed(1, because, Some(2)));
    }

    #[test]
    fn report_of_a_lost_container_fails_without_a_replacement() {
        for history in [history::running(), history::recovering()] {
            given(history).when(report(A, 1, 1, agent_failed("container_gone"), 9)).then(failed(
                1,
                failure(A, FailureReason::Failed(recorded_error("container_gone"))),
                Some(9),
            ));
        }
    }

    #[test]
    fn report_of_the_same_failure_is_ignored() {
        given(history::running())
            .and([failed(1, failure(A, FailureReason::Failed(recorded_error("x"))), Some(5))])
            .when(report(A, 1, 1, agent_failed("x"), 6))
            .then_nothing();
    }

    #[test]
    fn report_of_a_failure_of_a_lower_generation_is_ignored() {
        let stop = TenancyEvent::StopRequested(change_requested(2, 40));
        given(history::creating()).and([stop]).when(report(A, 1, 1, agent_refused("no_ports"), 1)).then_nothing();
        given(history::stopping()).when(report(A, 1, 1, agent_failed("runtime_error"), 2)).then_nothing();
    }

    #[test]
    fn report_refused_or_failed_during_a_deletion_is_ignored() {
        given(history::deleting()).when(report(A, 1, 2, agent_refused("no_ports"), 2)).then_nothing();
        given(history::deleting()).when(report(A, 1, 2, agent_failed("runtime_error"), 2)).then_nothing();
    }
}

mod removal {
    use super::*;

    #[test]
    fn report_deleted_confirms_a_deletion() {
        given(history::deleting())
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then(deleted(2, DeletionOutcome::Confirmed { backend_id: A }))
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then_nothing();
    }

    #[test]
    fn report_deleted_before_the_request_is_ignored() {
        given(history::running()).when(report(A, 1, 1, ReportKind::InstanceDeleted, 2)).then_nothing();
        given(history::deleting()).when(report(A, 1, 1, ReportKind::InstanceDeleted, 2)).then_nothing();
    }

    #[test]
    fn report_deleted_of_an_abandoned_container_releases_it() {
        let tenancy = given(history::abandoned())
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then(released(A, 1))
            .when(report(A, 1, 2, ReportKind::InstanceDeleted, 2))
            .then_nothing();
        let instance = tenancy.state.instance(WEB).unwrap();
        assert!(instance.pending_removals.is_empty());
        assert_eq!(instance.last_activity, at(4), "the deletion, the fourth event");
    }

    #[test]
    fn report_deleted_of_an_earlier_placement_does_not_change_the_current_one() {
        let tenancy = given(history::creating())
            .and([on_b()])
            .when(report(A, 1, 1, ReportKind::InstanceDeleted, 1))
            .then(released(A, 1));
        let instance = tenancy.state.instance(WEB).unwrap();
        assert_eq!((instance.status(), instance.placement), (Status::Creating, 2));
    }

    #[test]
    fn report_deleted_of_a_lower_placement_does_not_release_a_higher_one() {
        given(history::creating())
            .and([on_b()])
            .and([failed_unplaced(1, refusal(B, "no_ports"), Some(2))])
            .when(report(B, 1, 1, ReportKind::InstanceDeleted, 3))
            .then_nothing();
    }
}

mod orphaned_container {
    use super::*;

    fn assert_orphaned(history: Vec<TenancyEvent>, by: HandleReport) {
        given(history).when(by).then_rejected(ReportRejected::OrphanedContainer);
    }

    #[test]
    fn report_of_a_container_without_an_assignment_is_rejected() {
        for kind in [created(Phase::Running), status(Phase::Stopped)] {
            assert_orphaned(history::running(), report(B, 1, 1, kind.clone(), 2));
            assert_orphaned(history::deleted(), report(A, 1, 2, kind.clone(), 2));
            assert_orphaned(vec![], report(A, 1, 1, kind, 1));
        }
    }

    #[test]
    fn report_of_a_container_with_a_pending_removal_is_ignored() {
        given(history::abandoned()).when(report(A, 1, 2, status(Phase::Running), 2)).then_nothing();
        given(history::never_created()).when(report(A, 1, 1, created(Phase::Running), 2)).then_nothing();
    }

    #[test]
    fn report_of_another_placement_on_the_same_backend_is_ignored() {
        given(history::running()).when(report(A, 0, 1, status(Phase::Running), 2)).then_nothing();
        given(history::running()).when(report(A, 2, 1, status(Phase::Running), 2)).then_nothing();
    }

    #[test]
    fn report_of_a_failure_or_removal_of_an_unknown_instance_is_ignored() {
        for kind in [ReportKind::InstanceDeleted, agent_refused("no_ports"), agent_failed("runtime_error")] {
            given::<Tenancy>([]).when(report(A, 1, 1, kind.clone(), 1)).then_nothing();
            given(history::running()).when(report(B, 1, 1, kind, 2)).then_nothing();
        }
    }
}

#[test]
fn report_of_another_backend_does_not_change_an_instance() {
    let foreign = |kind| HandleReport { facts: Facts { now: at(1), ..facts(1) }, ..report(B, 1, 1, kind, 9) };
    given(history::creating()).when(foreign(agent_refused("no_ports"))).then_nothing();
    given(history::deleting()).when(foreign(ReportKind::InstanceDeleted)).then_nothing();
    given(history::creating()).when(foreign(created(Phase::Running))).then_rejected(ReportRejected::OrphanedContainer);
}

#[test]
fn fold_of_stray_events_does_not_fail() {
    // Events of an abandoned placement, or of an instance that retention has removed.
    let stray = [
        observed(1, Phase::Running, 9),
        deleted(2, DeletionOutcome::Unplaced),
        released(C, 9),
        TenancyEvent::Deleted(Deleted { instance_id: CI, generation: 1, outcome: DeletionOutcome::Unplaced }),
    ];
    assert_eq!(status_of(history::never_created().into_iter().chain(stray).collect()), Status::Deleted);
    assert_eq!(given::<Tenancy>(history::deleted()).state.instance(WEB).unwrap().desired, DesiredState::Deleted);
}
