//! One run: traffic, faults, healing, and what is there in the end.
//!
//! In: a plan. Out: a report, kept as a file. The clients go on while the parts are killed; then they stop, and nothing
//! more is done but to look, until all is well or the time for that is up.

use std::time::{Duration, Instant};

use dockhost::common::error::Cause;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::checker::healed;
use crate::checker::log::Log;
use crate::checker::{Found, Violation};
use crate::collect;
use crate::history::Recorder;
use crate::nemesis::{self, Nemesis};
use crate::observation::Observation;
use crate::report::{Plan, Report};
use crate::site::Site;
use crate::traffic::{User, summary};

/// Traffic before the first fault, and after the last.
const QUIET: Duration = Duration::from_secs(3);

/// Runs a plan. `say` is told what happens.
///
/// # Panics
/// When a part can't be started (again), or does not answer in the end.
pub async fn run(plan: Plan, say: impl Fn(&str)) -> Report {
    let mut site = Site::start(&plan).await;
    let recorder = Recorder::default();
    let urls = site.urls();
    let stop = CancellationToken::new();
    let users: Vec<_> =
        (0..plan.clients).map(|n| tokio::spawn(User::new(n, plan.seed, &urls, &recorder).run(stop.clone()))).collect();
    let mut faults = Vec::new();
    tokio::time::sleep(QUIET).await;
    let until = Instant::now() + Duration::from_secs(plan.minutes * 60);
    let mut nemesis = Nemesis::new(&mut site, &recorder, &plan);
    for (act, part) in nemesis::faults(&plan) {
        if Instant::now() >= until {
            break;
        }
        let fault = nemesis.strike(act, part).await;
        say(&format!(
            "{:>7} ms: {act:?} {part:?} {:?}, healed after {} ms",
            fault.begun.ms,
            fault.targets,
            fault.healed.ms - fault.begun.ms
        ));
        faults.push(fault);
    }
    tokio::time::sleep(QUIET).await;
    stop.cancel();
    for ended in join_all(users).await {
        ended.unwrap();
    }
    nemesis::all_run(&site).await;
    let history = recorder.history();
    say(&summary(&history));
    let mut observation = heal(&site, &plan, &say).await;
    observation.verified = Some(collect::verify(&site).await);
    observation.copies = collect::copies(&site).await.unwrap();
    Report { plan, history, faults, observation }
}

/// Looks until all is well, or for as long as the plan gives.
async fn heal(site: &Site, plan: &Plan, say: &impl Fn(&str)) -> Observation {
    let begun = Instant::now();
    loop {
        let late = begun.elapsed() >= Duration::from_secs(plan.heals_within);
        match look(site).await {
            Ok((observation, left)) => {
                if left.is_empty() {
                    say(&format!("well again after {} ms", begun.elapsed().as_millis()));
                    return observation;
                }
                if late {
                    say(&format!("not well after {} s", plan.heals_within));
                    return observation;
                }
            }
            // What does not answer at all within twice the time has no observation to be judged by.
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(plan.heals_within * 2), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn look(site: &Site) -> Result<(Observation, Vec<Violation>), Cause> {
    let observation = collect::observe(site).await?;
    let mut found = Found::default();
    let log = Log::read(&observation, &mut Found::default());
    healed::check(&observation, &log, &mut found);
    Ok((observation, found.violations()))
}
