//! The nemesis (Jepsen's term for the process that injects faults): injects one fault or two at once under traffic, ends
//! them, and waits until the probes say that the system is well.
//!
//! Each fault proves its effect: the kernel confirms that a process is gone, a rule counted dropped packets.

mod clock;
mod database;
mod down;
mod empty_node;
mod everything;
mod full_disk;
mod link;
mod power;
mod process;
pub mod registry;
mod roll;
mod slow;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use dockhost::common::error::Cause;
use dockhost_harness::hosts::Disk;
use dockhost_harness::http::Client;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::availability;
use crate::history::{Moment, Recorder};
use crate::report::{Evidence, Injection, Kind, Part, Plan, Topology};
use crate::system::System;

/// How often the nemesis asks whether the system is well.
const WELL_PERIOD: Duration = Duration::from_millis(100);

/// The least time between two measured faults, in which nodes that were away catch up.
const SETTLING_MILLIS: u64 = 6_000;

/// The longest until all replicas respond at the end.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A fault that can be injected.
pub trait Fault {
    /// Injects it.
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect>;
    /// Ends it, and tells what only its end can show.
    fn end<'a>(&'a mut self, system: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>>;
}

/// What a fault works with.
pub struct Context<'a> {
    pub system: &'a mut System,
    pub random: &'a mut StdRng,
    pub recorder: &'a Recorder,
    pub topology: Topology,
}

/// What a fault did.
#[derive(Debug, Default)]
pub struct Effect {
    pub targets: Vec<(Part, usize)>,
    pub evidence: Vec<Evidence>,
    /// Details.
    pub what: String,
}

/// The disk of a server, on a machine that permits one.
fn disk(system: &System, part: Part, n: usize) -> Option<&Disk> {
    match part {
        Part::Nats => system.world.nats.store(n).disk.as_ref(),
        Part::Mongod => system.world.mongods.as_ref()?.store(n).disk.as_ref(),
        Part::Replica | Part::Agent => None,
    }
}

/// Injects the faults.
pub struct Nemesis<'a> {
    system: &'a mut System,
    recorder: Recorder,
    random: StdRng,
    plan: Plan,
}

impl<'a> Nemesis<'a> {
    pub fn new(system: &'a mut System, recorder: &Recorder, plan: &Plan) -> Self {
        let random = StdRng::seed_from_u64(plan.seed ^ 0xFA17);
        Self { system, recorder: recorder.clone(), random, plan: plan.clone() }
    }

    /// Injects faults after a random delay, ends them after another, and waits until the system is well. If it does not
    /// become well in time, all processes are restarted, so that the run can go on.
    pub async fn inject(&mut self, kinds: &[Kind]) -> Injection {
        let gap =
            if self.plan.measures_availability { SETTLING_MILLIS } else { 300 } + self.random.random_range(0..2200);
        tokio::time::sleep(Duration::from_millis(gap)).await;
        let begun = self.recorder.now();
        let mut injection = Injection {
            kinds: kinds.to_vec(),
            targets: Vec::new(),
            what: String::new(),
            begun,
            ending: None,
            healed: begun,
            evidence: Vec::new(),
            well_after_ms: None,
            healthy_after_ms: None,
            restarted: false,
        };
        // A process that does not start again is a finding, not the end of the run.
        let done = AssertUnwindSafe(self.begin_and_end(kinds, &mut injection)).catch_unwind().await;
        if done.is_err() {
            let what = "a part did not start again, or could not be disturbed".to_owned();
            injection.evidence.push(Evidence { what, confirmed: false });
        }
        injection.healed = self.recorder.now();
        injection.well_after_ms = self.wait_until_well(injection.healed).await;
        if injection.well_after_ms.is_none() {
            injection.restarted =
                AssertUnwindSafe(everything::restart_all_killed(self.system)).catch_unwind().await.is_ok();
        }
        // What has three copies bears one fault at a time: the next one waits, as an operator would.
        if self.plan.topology == Topology::R3 {
            injection.healthy_after_ms =
                self.wait_until(|| self.recorder.healthy_since(injection.healed.ms), injection.healed).await;
        }
        injection
    }

    async fn begin_and_end(&mut self, kinds: &[Kind], injection: &mut Injection) {
        let mut faults: Vec<_> = kinds.iter().map(|kind| (*kind, registry::fault(*kind))).collect();
        faults.sort_by_key(|(kind, _)| registry::begin_rank(*kind));
        for (n, (_, fault)) in faults.iter_mut().enumerate() {
            if n > 0 {
                let delay = self.random.random_range(300..2000);
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let mut context = Context {
                system: self.system,
                random: &mut self.random,
                recorder: &self.recorder,
                topology: self.plan.topology,
            };
            let effect = fault.begin(&mut context).await;
            injection.targets.extend(effect.targets);
            injection.evidence.extend(effect.evidence);
            injection.what = [injection.what.as_str(), &effect.what].join(" ").trim().to_owned();
        }
        let hold = if self.plan.measures_availability { availability::hold(kinds) } else { self.random_hold() };
        tokio::time::sleep(hold).await;
        injection.ending = Some(self.recorder.now());
        faults.sort_by_key(|(kind, _)| registry::end_rank(*kind));
        for (_, fault) in &mut faults {
            injection.evidence.extend(fault.end(self.system).await);
        }
    }

    /// Sometimes long enough for a lease to expire or a backend to be declared lost.
    fn random_hold(&mut self) -> Duration {
        let max = if self.random.random_bool(0.3) { self.plan.max_hold_ms } else { self.plan.max_hold_ms / 3 };
        Duration::from_millis(self.random.random_range(200..max.max(201)))
    }

    /// Waits until each probe has succeeded since `healed`; returns after how many milliseconds the last one did.
    async fn wait_until_well(&self, healed: Moment) -> Option<u64> {
        self.wait_until(|| self.recorder.well_since(healed.ms), healed).await
    }

    async fn wait_until(&self, since: impl Fn() -> Option<u64>, healed: Moment) -> Option<u64> {
        let deadline = Instant::now() + Duration::from_secs(self.plan.heals_within);
        loop {
            if let Some(ms) = since() {
                return Some(ms - healed.ms);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(WELL_PERIOD).await;
        }
    }

    /// Whether all probes succeed again after all processes were restarted.
    pub async fn is_well(&self) -> bool {
        self.wait_until_well(self.recorder.now()).await.is_some()
    }
}

/// Waits until all replicas respond.
///
/// # Errors
/// If one does not in time.
pub async fn wait_until_all_respond(system: &System) -> Result<(), Cause> {
    let deadline = Instant::now() + RESPONSE_TIMEOUT;
    for (n, replica) in system.world.replicas.iter().enumerate() {
        let client = Client::new(&replica.url);
        while client.try_send(reqwest::Method::GET, "/health", &[], None).await.is_err() {
            if Instant::now() >= deadline {
                return Err(format!("replica {n} does not respond").into());
            }
            tokio::time::sleep(WELL_PERIOD).await;
        }
    }
    Ok(())
}
