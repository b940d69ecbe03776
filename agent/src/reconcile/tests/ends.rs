//! Containers that end although they should run.

use super::*;

const OOM: ContainerEnd = ContainerEnd::OutOfMemory;

fn with_policy(restart: RestartPolicy, generation: u32) -> Assignment {
    let mut assignment = assignment(1, generation, DesiredState::Running);
    assignment.container.as_mut().unwrap().restart = restart;
    assignment
}

/// A running instance, and an agent that follows the engine's events.
async fn running(assignment: &Assignment) -> Fixture {
    let fixture = fixture(Fake::default(), 10);
    fixture.watch();
    fixture.reconciler.assign(assignment.clone());
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    fixture.reports.clear();
    fixture
}

impl ReportCollector {
    async fn ended(&self, cause: ContainerEnd) -> Report {
        self.report(|report| matches!(&report.kind, ReportKind::InstanceStatus(seen) if seen.ended == Some(cause)))
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn ended_container_is_reported_with_its_cause_and_started_again() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    for cause in [OOM, ContainerEnd::Exited { exit_code: 3 }, ContainerEnd::Killed { signal: 9 }] {
        fixture.fake.end_container(1, cause);
        let report = fixture.reports.ended(cause).await;
        let ReportKind::InstanceStatus(seen) = &report.kind else { panic!("{report:?}") };
        assert_eq!((report.generation, seen.phase), (1, Phase::Stopped));
        fixture.reports.clear();
        let running = fixture.reports.running().await;
        assert!(matches!(&running.kind, ReportKind::InstanceStatus(seen) if seen.ended.is_none()), "{running:?}");
        fixture.wait_until_idle().await;
        fixture.reports.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn ended_container_is_reported_in_a_trace_of_its_own_and_not_in_that_of_the_assignment() {
    let fixture = fixture(Fake::default(), 10);
    fixture.watch();
    let trace_id = TraceId::new(7).unwrap();
    let parent = TraceParent { trace_id, span_id: SpanId::new(8).unwrap(), is_sampled: true };
    // The run that an error ends is continued in the trace by the next one.
    fixture.fake.failures.lock().unwrap().extend([transient(), transient(), transient()]);
    let assign = async { fixture.reconciler.assign(with_policy(RestartPolicy::OnFailure, 1)) };
    trace::in_span(Span::none(), Some(parent), assign).await;
    fixture.reports.failure("runtime_error").await;
    fixture.wait_until_idle().await;
    fixture.reconciler.resync().await.unwrap();
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    let of_assignment = std::mem::take(&mut *fixture.reports.2.lock().unwrap());
    assert!(of_assignment.len() >= 2 && of_assignment.iter().all(|id| *id == trace_id), "{of_assignment:?}");
    fixture.fake.end_container(1, OOM);
    fixture.reports.ended(OOM).await;
    let later = fixture.reports.2.lock().unwrap().clone();
    assert!(!later.is_empty() && !later.contains(&trace_id), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn ended_container_is_not_started_before_its_delay_is_over() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    let began = tokio::time::Instant::now();
    fixture.fake.end_container(1, OOM);
    fixture.reports.ended(OOM).await;
    for _ in 0..10 {
        // Neither the resync nor another event of the engine starts it earlier.
        fixture.reconciler.resync().await.unwrap();
        fixture.reconciler.check(instance(1));
        fixture.wait_until_idle().await;
        assert_eq!(fixture.state(), ContainerState::Stopped, "after {:?}", began.elapsed());
    }
    fixture.reports.running().await;
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn container_that_keeps_ending_is_given_up_with_the_last_cause() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    for _ in 0..5 {
        fixture.fake.end_container(1, OOM);
        fixture.reports.running().await;
        fixture.wait_until_idle().await;
        fixture.reports.clear();
    }
    fixture.fake.end_container(1, OOM);
    let failure = fixture.reports.failure("out_of_memory").await;
    let ReportKind::InstanceFailed(error) = failure.kind else { panic!("{failure:?}") };
    assert!(error.message.as_str().contains("6 times"), "{error:?}");
    for _ in 0..3 {
        fixture.reconciler.resync().await.unwrap();
        fixture.wait_until_idle().await;
    }
    assert_eq!((fixture.state(), fixture.reports.count()), (ContainerState::Stopped, 1), "it is reported once");
    // A resume sets the count to zero.
    fixture.reconciler.assign(with_policy(RestartPolicy::OnFailure, 2));
    fixture.reports.running().await;
}

#[tokio::test(start_paused = true)]
async fn ended_container_with_the_policy_never_fails_and_is_started_by_a_resume_only() {
    let never = |generation| with_policy(RestartPolicy::Never, generation);
    let fixture = running(&never(1)).await;
    fixture.fake.end_container(1, OOM);
    let failure = fixture.reports.failure("out_of_memory").await;
    assert!(matches!(failure.kind, ReportKind::InstanceFailed(_)), "{failure:?}");
    for _ in 0..3 {
        fixture.reconciler.resync().await.unwrap();
        fixture.wait_until_idle().await;
    }
    assert_eq!((fixture.state(), fixture.reports.count()), (ContainerState::Stopped, 1));
    // Another run of the agent knows it from the server.
    let fixture = fixture.restart();
    let mut has_run = never(1);
    has_run.container.as_mut().unwrap().has_run = true;
    fixture.reconciler.assign(has_run);
    fixture.reports.failure("out_of_memory").await;
    fixture.wait_until_idle().await;
    assert_eq!(fixture.state(), ContainerState::Stopped);

    fixture.reconciler.assign(never(2));
    fixture.reports.running().await;
}

#[tokio::test(start_paused = true)]
async fn container_that_ended_without_an_agent_is_reported_with_its_cause() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    fixture.fake.end_silently(1, OOM);
    let fixture = fixture.restart();
    let mut known = with_policy(RestartPolicy::OnFailure, 1);
    known.container.as_mut().unwrap().container_id = Some("c1".to_owned());
    fixture.reconciler.assign(known);
    fixture.reports.ended(OOM).await;
    fixture.reports.running().await;
}

#[tokio::test(start_paused = true)]
async fn stopped_and_resumed_container_has_not_ended() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    fixture.reconciler.assign(assignment(1, 2, DesiredState::Stopped));
    fixture.fake.end_container(1, OOM);
    fixture.reports.report(|report| report.generation == 2).await;
    fixture.wait_until_idle().await;
    fixture.reconciler.assign(with_policy(RestartPolicy::OnFailure, 3));
    fixture.reports.running().await;
    let ended = |report: &Report| matches!(&report.kind, ReportKind::InstanceStatus(seen) if seen.ended.is_some());
    let reports = fixture.reports.0.lock().unwrap().clone();
    assert!(!reports.iter().any(ended), "{reports:#?}");
}

#[tokio::test(start_paused = true)]
async fn removed_container_is_reported_at_once() {
    let mut known = with_policy(RestartPolicy::OnFailure, 1);
    let fixture = running(&known).await;
    known.container.as_mut().unwrap().container_id = Some("c1".to_owned());
    fixture.reconciler.assign(known);
    fixture.wait_until_idle().await;
    fixture.fake.containers.lock().unwrap().clear();
    fixture.reconciler.check(instance(1));
    let failure = fixture.reports.failure("container_gone").await;
    assert!(matches!(failure.kind, ReportKind::InstanceFailed(_)), "{failure:?}");
    assert_eq!(fixture.fake.created.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn containers_that_ended_with_the_engine_say_so() {
    let fixture = running(&with_policy(RestartPolicy::OnFailure, 1)).await;
    let killed = ContainerEnd::Killed { signal: 9 };
    fixture.fake.end_silently(1, killed);
    fixture.fake.engine_restarts.notify_one();
    fixture.reports.ended(ContainerEnd::EngineRestarted).await;
    fixture.reports.running().await;
    fixture.wait_until_idle().await;
    // What survives a restart of the engine, and ends later, has another cause.
    fixture.reports.clear();
    fixture.fake.engine_restarts.notify_one();
    tokio::time::sleep(Duration::from_secs(2)).await;
    fixture.fake.end_container(1, killed);
    fixture.reports.ended(killed).await;
}
