//! One run: starts a system, injects faults under traffic, waits for recovery, and returns the report.
//!
//! The clients send requests until the last fault has ended. After that the run only observes, until the system is healthy
//! or the time for it has passed.

use std::time::{Duration, Instant};

use dockhost::common::clock;
use dockhost::common::error::Cause;
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::administrator::Administrator;
use crate::checker::log::Log;
use crate::checker::recovery;
use crate::checker::{Violation, Violations};
use crate::collect;
use crate::history::Recorder;
use crate::nemesis::{self, Nemesis, registry};
use crate::observation::Observation;
use crate::prober::{Probe, Prober};
use crate::racers::Racer;
use crate::report::{Plan, Report};
use crate::system::System;
use crate::traffic::{User, summary};

/// Duration of traffic before the first fault and after the last.
const FAULT_FREE_TRAFFIC: Duration = Duration::from_secs(3);

/// Runs a plan and reports progress line by line.
///
/// # Panics
/// If the system can't be started.
pub async fn run(plan: Plan, progress: impl Fn(&str)) -> Report {
    let mut system = System::start(&plan).await;
    let (kinds, left_out) = registry::kinds(&plan, &system.missing());
    for (kind, reason) in &left_out {
        progress(&format!("left out: {} ({reason})", kind.name()));
    }
    let recorder = Recorder::default();
    let stop = CancellationToken::new();
    let clients = start_clients(&plan, &system, &recorder, &stop);
    let mut faults = Vec::new();
    let mut nemesis = Nemesis::new(&mut system, &recorder, &plan);
    // Well once the probes have signed up and created their instances.
    let began_well = nemesis.is_well().await;
    if !began_well {
        progress("the system was not well before the first fault");
    }
    tokio::time::sleep(FAULT_FREE_TRAFFIC).await;
    let faults_end = Instant::now() + Duration::from_secs(plan.minutes * 60);
    for kinds in registry::schedule(&plan, &kinds) {
        if Instant::now() >= faults_end {
            break;
        }
        let fault = nemesis.inject(&kinds).await;
        let well = fault.well_after_ms.map_or("never".to_owned(), |ms| format!("after {ms} ms"));
        let healthy = fault.healthy_after_ms.map_or(String::new(), |ms| format!(", healthy after {ms} ms"));
        progress(&format!("{fault}, well {well}{healthy}"));
        let restarted = fault.restarted;
        faults.push(fault);
        if restarted && !nemesis.is_well().await {
            progress("the system is not well after a restart of everything; the run ends");
            break;
        }
    }
    tokio::time::sleep(FAULT_FREE_TRAFFIC).await;
    stop.cancel();
    for result in join_all(clients).await {
        result.unwrap();
    }
    let history = recorder.history();
    progress(&summary(&history));
    let (observation, unobserved) = match observe_at_end(&system, &plan, &progress).await {
        Ok(observation) => (observation, None),
        Err(error) => (Observation::none(clock::now()), Some(error.to_string())),
    };
    system.save_logs(&Report::logs(&plan));
    Report { plan, history, faults, left_out, observation, unobserved }
}

fn start_clients(plan: &Plan, system: &System, recorder: &Recorder, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let urls = system.urls();
    let users = if plan.measures_availability { 0 } else { plan.clients };
    let mut clients: Vec<JoinHandle<()>> =
        (0..users).map(|n| tokio::spawn(User::new(n, plan.seed, &urls, recorder).run(stop.clone()))).collect();
    if plan.clients == 0 {
        return clients;
    }
    for replica in 0..urls.len() {
        for probe in Probe::ALL {
            clients.push(tokio::spawn(Prober::new(probe, replica, &urls, recorder).run(stop.clone())));
        }
    }
    if plan.measures_availability {
        return clients;
    }
    clients
        .extend(Racer::all(plan.seed, &urls, recorder).into_iter().map(|racer| tokio::spawn(racer.run(stop.clone()))));
    let administrator = Administrator::new(plan.seed, &urls, system.backend_ids(), recorder);
    clients.push(tokio::spawn(administrator.run(stop.clone())));
    clients
}

/// The state at the end, once the system is healthy or the time for it has passed.
async fn observe_at_end(system: &System, plan: &Plan, progress: &impl Fn(&str)) -> Result<Observation, Cause> {
    nemesis::wait_until_all_respond(system).await?;
    let mut observation = wait_until_healthy(system, plan, progress).await?;
    observation.verified = Some(collect::verify(system).await);
    observation.copies = collect::copies(system).await?;
    Ok(observation)
}

/// Observes the system until it is healthy, for at most `heals_within` seconds.
async fn wait_until_healthy(system: &System, plan: &Plan, progress: &impl Fn(&str)) -> Result<Observation, Cause> {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= Duration::from_secs(plan.heals_within);
        match observe(system).await {
            Ok((observation, violations)) => {
                if violations.is_empty() {
                    progress(&format!("healthy after {} ms", begun.elapsed().as_millis()));
                    return Ok(observation);
                }
                if late {
                    progress(&format!("not healthy after {} s", plan.heals_within));
                    return Ok(observation);
                }
            }
            // Without an observation there is nothing to check.
            Err(error) if begun.elapsed() >= Duration::from_secs(plan.heals_within * 2) => return Err(error),
            Err(_) => {}
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
