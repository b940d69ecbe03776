//! One run: starts a system, injects faults under traffic, waits for recovery, and returns the report.
//!
//! The clients send requests until the last fault has ended. After that the run only observes, until the system is healthy
//! or the time for it has passed.

use std::time::{Duration, Instant};

use dockhost::common::error::Cause;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::checker::log::Log;
use crate::checker::recovery;
use crate::checker::{Violation, Violations};
use crate::collect;
use crate::history::Recorder;
use crate::nemesis::{self, Nemesis};
use crate::observation::Observation;
use crate::report::{Plan, Report};
use crate::system::System;
use crate::traffic::{User, summary};

/// Duration of traffic before the first fault and after the last.
const FAULT_FREE_TRAFFIC: Duration = Duration::from_secs(3);

/// Runs a plan and reports progress line by line.
///
/// # Panics
/// If a process can't be started or restarted, or does not respond at the end.
pub async fn run(plan: Plan, progress: impl Fn(&str)) -> Report {
    let mut system = System::start(&plan).await;
    let recorder = Recorder::default();
    let urls = system.urls();
    let stop = CancellationToken::new();
    let users: Vec<_> =
        (0..plan.clients).map(|n| tokio::spawn(User::new(n, plan.seed, &urls, &recorder).run(stop.clone()))).collect();
    let mut faults = Vec::new();
    tokio::time::sleep(FAULT_FREE_TRAFFIC).await;
    let faults_end = Instant::now() + Duration::from_secs(plan.minutes * 60);
    let mut nemesis = Nemesis::new(&mut system, &recorder, &plan);
    for (action, component) in nemesis::faults(&plan) {
        if Instant::now() >= faults_end {
            break;
        }
        let fault = nemesis.inject(action, component).await;
        progress(&format!(
            "{:>7} ms: {action:?} {component:?} {:?}, ended after {} ms",
            fault.begun.ms,
            fault.targets,
            fault.healed.ms - fault.begun.ms
        ));
        faults.push(fault);
    }
    tokio::time::sleep(FAULT_FREE_TRAFFIC).await;
    stop.cancel();
    for result in join_all(users).await {
        result.unwrap();
    }
    nemesis::wait_until_all_respond(&system).await;
    let history = recorder.history();
    progress(&summary(&history));
    let mut observation = wait_until_healthy(&system, &plan, &progress).await;
    observation.verified = Some(collect::verify(&system).await);
    observation.copies = collect::copies(&system).await.unwrap();
    Report { plan, history, faults, observation }
}

/// Observes the system until it is healthy, for at most `heals_within` seconds.
async fn wait_until_healthy(system: &System, plan: &Plan, progress: &impl Fn(&str)) -> Observation {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= Duration::from_secs(plan.heals_within);
        match observe(system).await {
            Ok((observation, violations)) => {
                if violations.is_empty() {
                    progress(&format!("healthy after {} ms", begun.elapsed().as_millis()));
                    return observation;
                }
                if late {
                    progress(&format!("not healthy after {} s", plan.heals_within));
                    return observation;
                }
            }
            // Without an observation there is nothing to check.
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(plan.heals_within * 2), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn observe(system: &System) -> Result<(Observation, Vec<Violation>), Cause> {
    let observation = collect::observe(system).await?;
    let mut violations = Violations::default();
    let log = Log::read(&observation, &mut Violations::default());
    recovery::check(&observation, &log, &mut violations);
    Ok((observation, violations.into_sorted()))
}
