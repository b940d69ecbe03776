//! The nemesis (Jepsen's term for the process that injects faults): kills and pauses processes under traffic, one fault
//! after another.
//!
//! Each fault is confirmed by the kernel (the process is gone or stopped) and, where possible, by a client's request.

use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use dockhost_harness::wait_until;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::history::{Moment, Recorder};
use crate::report::{Action, Component, Fault, Plan, Topology};
use crate::system::System;
use crate::traffic::{Caller, Request, send_recorded};

/// A client must see the fault within this time.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(20);
/// The kernel must have ended or stopped the process within this time.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(20);

/// The faults of a plan, in an order that depends on the seed.
#[must_use]
pub fn faults(plan: &Plan) -> Vec<(Action, Component)> {
    let components = [Component::Replica, Component::Nats, Component::Mongod, Component::Agent];
    let mut all: Vec<(Action, Component)> = Vec::new();
    for round in 0..plan.rounds {
        for component in components {
            all.push((Action::Kill, component));
            // Pauses take more time than kills, so they are a third as frequent.
            if round % 3 == 2 {
                all.push((Action::Pause, component));
            }
        }
    }
    all.shuffle(&mut StdRng::seed_from_u64(plan.seed));
    all
}

/// Injects the faults.
pub struct Nemesis<'a> {
    system: &'a mut System,
    recorder: Recorder,
    random: StdRng,
    topology: Topology,
}

impl<'a> Nemesis<'a> {
    pub fn new(system: &'a mut System, recorder: &Recorder, plan: &Plan) -> Self {
        let random = StdRng::seed_from_u64(plan.seed ^ 0xFA17);
        Self { system, recorder: recorder.clone(), random, topology: plan.topology }
    }

    /// Injects one fault after a random delay, and ends it after another.
    pub async fn inject(&mut self, action: Action, component: Component) -> Fault {
        let gap = self.random.random_range(300..2500);
        tokio::time::sleep(Duration::from_millis(gap)).await;
        let targets = self.targets(action, component).await;
        let pids: Vec<u32> = targets.iter().filter_map(|target| self.pid(component, *target)).collect();
        let begun = self.recorder.now();
        for target in &targets {
            match action {
                Action::Kill => self.kill(component, *target).await,
                Action::Pause => self.pause(component, *target).await,
            }
        }
        let mut processes = Vec::new();
        for pid in pids {
            processes.push((pid, took_effect(action, pid).await));
        }
        let visible_in = if action == Action::Kill { self.find_visible(component, &targets).await } else { None };
        // Sometimes long enough for a lease to expire or a backend to be declared lost.
        let max_hold_ms = if self.random.random_bool(0.15) { 20_000 } else { 7_000 };
        let hold = self.random.random_range(200..max_hold_ms);
        tokio::time::sleep(Duration::from_millis(hold)).await;
        for target in &targets {
            match action {
                Action::Kill => self.restart(component, *target).await,
                Action::Pause => self.resume(component, *target).await,
            }
        }
        let healed: Moment = self.recorder.now();
        Fault { action, component, targets, begun, healed, processes, visible_in }
    }

    /// Selects the processes: usually one, sometimes two of three broker nodes, mostly the primary of the database.
    async fn targets(&mut self, action: Action, component: Component) -> Vec<usize> {
        let world = &self.system.world;
        let three: Vec<usize> = (0..3).collect();
        match (component, self.topology) {
            (Component::Replica, _) => {
                // Half of the time the leader, because the leader's roles must move.
                if self.random.random_bool(0.5) {
                    vec![world.leader().await]
                } else {
                    vec![self.random.random_range(0..world.replicas.len())]
                }
            }
            (Component::Agent, _) => vec![self.random.random_range(0..world.agents.len())],
            (Component::Nats | Component::Mongod, Topology::R1) => vec![0],
            (Component::Nats, Topology::R3) => {
                let many = if action == Action::Kill && self.random.random_bool(0.4) { 2 } else { 1 };
                three.choose_multiple(&mut self.random, many).copied().collect()
            }
            (Component::Mongod, Topology::R3) => {
                let primary = match &world.mongods {
                    Some(mongods) => mongods.primary().await,
                    None => 0,
                };
                vec![if self.random.random_bool(0.7) { primary } else { self.random.random_range(0..3) }]
            }
        }
    }

    fn pid(&self, component: Component, target: usize) -> Option<u32> {
        use dockhost::dev::process::Child;
        let world = &self.system.world;
        match component {
            Component::Replica => world.replicas[target].process.as_ref().and_then(Child::pid),
            Component::Agent => world.agents[target].process.as_ref().and_then(Child::pid),
            Component::Nats => world.nats.pid(target),
            Component::Mongod => world.mongods.as_ref().and_then(|mongods| mongods.pid(target)),
        }
    }

    async fn kill(&mut self, component: Component, target: usize) {
        match component {
            Component::Replica => self.system.world.kill_replica(target).await,
            Component::Agent => self.system.kill_agent(target).await,
            Component::Nats => self.system.world.nats.kill_node(target).await,
            Component::Mongod => self.system.world.mongods.as_mut().unwrap().kill(target).await,
        }
    }

    async fn restart(&mut self, component: Component, target: usize) {
        match component {
            Component::Replica => self.system.world.restart_replica(target).await,
            Component::Agent => self.system.world.start_agent(target, &[]),
            Component::Nats => self.system.world.nats.restart_node(target).await,
            Component::Mongod => self.system.world.mongods.as_mut().unwrap().restart(target).await,
        }
    }

    async fn pause(&mut self, component: Component, target: usize) {
        match component {
            Component::Replica => self.system.world.pause_replica(target).await,
            Component::Agent => self.system.world.pause_agent(target).await,
            Component::Nats => self.system.world.nats.pause_node(target).await,
            Component::Mongod => self.system.world.mongods.as_mut().unwrap().pause(target).await,
        }
    }

    async fn resume(&mut self, component: Component, target: usize) {
        match component {
            Component::Replica => self.system.world.resume_replica(target).await,
            Component::Agent => self.system.world.resume_agent(target).await,
            Component::Nats => self.system.world.nats.resume_node(target).await,
            Component::Mongod => self.system.world.mongods.as_mut().unwrap().resume(target).await,
        }
    }

    /// Sends requests until an outcome shows the fault; returns the request's id.
    async fn find_visible(&self, component: Component, targets: &[usize]) -> Option<String> {
        let replica = match component {
            Component::Replica => *targets.first()?,
            Component::Nats | Component::Mongod if self.topology == Topology::R1 => 0,
            _ => return None,
        };
        let client = Client::new(&self.system.world.replicas[replica].url);
        let dependency = if component == Component::Nats { "broker" } else { "database" };
        let deadline = Instant::now() + VISIBILITY_TIMEOUT;
        while Instant::now() < deadline {
            let caller = Caller { client: "nemesis", replica, user: None };
            let (id, answer) = send_recorded(&client, caller, &self.recorder, &Request::health()).await;
            let is_visible = match answer {
                None => component == Component::Replica,
                Some(answer) => answer.body["down"].as_array().into_iter().flatten().any(|down| down == dependency),
            };
            if is_visible {
                return Some(id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

/// Whether the kernel confirms that the process is gone or stopped.
async fn took_effect(action: Action, pid: u32) -> bool {
    let deadline = Instant::now() + SIGNAL_TIMEOUT;
    while Instant::now() < deadline {
        let state = state(pid);
        let confirmed = match action {
            Action::Kill => state.is_none_or(|state| state == 'Z'),
            Action::Pause => state == Some('T'),
        };
        if confirmed {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// The process's state letter in `/proc`.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// Waits until all replicas respond.
pub async fn wait_until_all_respond(system: &System) {
    wait_until("all replicas respond", Duration::from_secs(60), async || {
        for (n, replica) in system.world.replicas.iter().enumerate() {
            let client = Client::new(&replica.url);
            let response = client.try_send(reqwest::Method::GET, "/health", &[], None).await;
            if let Err(error) = response {
                return Err(format!("replica {n}: {error}"));
            }
        }
        Ok(())
    })
    .await;
}
