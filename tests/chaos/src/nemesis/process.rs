//! The processes of a system: which ones a fault hits, and what it does to them.

use std::time::{Duration, Instant};

use dockhost::broker::streams::EVENTS;
use dockhost::dev::process::Child;
use dockhost_harness::Host;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::report::{Evidence, Part};
use crate::system::System;

/// The kernel must have ended or stopped the process within this time.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(20);
/// A system under faults may have no leader; then any process is hit.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two processes of a rolling restart.
const ROLL_PAUSE: Duration = Duration::from_secs(2);

/// Which processes of a part a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Any,
    /// The replica that leads, the node that leads EVENTS, or the primary.
    Leader,
    Two,
    All,
}

/// The number of processes of a part.
pub fn count(system: &System, part: Part) -> usize {
    let world = &system.world;
    match part {
        Part::Replica => world.replicas.len(),
        Part::Nats => world.nats.addresses().len(),
        Part::Mongod => world.mongods.as_ref().map_or(0, dockhost_harness::Mongods::len),
        Part::Agent => world.agents.len(),
    }
}

/// Selects the processes that a fault hits.
pub async fn select(system: &System, part: Part, which: Which, random: &mut StdRng) -> Vec<usize> {
    let all: Vec<usize> = (0..count(system, part)).collect();
    match which {
        Which::All => all,
        Which::Two => all.choose_multiple(random, 2).copied().collect(),
        Which::Any => vec![random.random_range(0..all.len())],
        Which::Leader => vec![leader(system, part).await.unwrap_or_else(|| random.random_range(0..all.len()))],
    }
}

/// The process that leads its part, if any does.
pub async fn leader(system: &System, part: Part) -> Option<usize> {
    let world = &system.world;
    match part {
        Part::Replica => world.replicas.iter().position(dockhost_harness::world::Replica::leads),
        Part::Nats if count(system, part) == 1 => Some(0),
        Part::Nats => tokio::time::timeout(LEADER_TIMEOUT, world.nats.leader_of(EVENTS)).await.ok(),
        Part::Mongod => tokio::time::timeout(LEADER_TIMEOUT, world.mongods.as_ref()?.primary()).await.ok(),
        Part::Agent => None,
    }
}

pub fn host(system: &System, part: Part, n: usize) -> &Host {
    let world = &system.world;
    match part {
        Part::Replica => &world.replicas[n].host,
        Part::Nats => world.nats.host(n),
        Part::Mongod => world.mongods.as_ref().unwrap().host(n),
        Part::Agent => &world.agents[n].host,
    }
}

pub fn pid(system: &System, part: Part, n: usize) -> Option<u32> {
    let world = &system.world;
    match part {
        Part::Replica => world.replicas[n].process.as_ref().and_then(Child::pid),
        Part::Agent => world.agents[n].process.as_ref().and_then(Child::pid),
        Part::Nats => world.nats.pid(n),
        Part::Mongod => world.mongods.as_ref().and_then(|mongods| mongods.pid(n)),
    }
}

/// Whether a process has not exited.
pub fn is_running(system: &System, part: Part, n: usize) -> bool {
    pid(system, part, n).is_some_and(|pid| !is_gone(state(pid)))
}

/// Kills a process with SIGKILL.
pub async fn kill(system: &mut System, part: Part, n: usize) -> Evidence {
    let pid = pid(system, part, n);
    match part {
        Part::Replica => system.world.kill_replica(n).await,
        Part::Agent => system.kill_agent(n).await,
        Part::Nats => system.world.nats.kill_node(n).await,
        Part::Mongod => system.world.mongods.as_mut().unwrap().kill(n).await,
    }
    evidence(pid, "is gone", is_gone).await
}

/// Starts a process again, as itself.
pub async fn restart(system: &mut System, part: Part, n: usize) {
    match part {
        Part::Replica => system.world.restart_replica(n).await,
        Part::Agent => system.world.start_agent(n, &[]),
        Part::Nats => system.world.nats.restart_node(n).await,
        Part::Mongod => system.world.mongods.as_mut().unwrap().restart(n).await,
    }
}

pub async fn pause(system: &mut System, part: Part, n: usize) -> Evidence {
    let pid = pid(system, part, n);
    match part {
        Part::Replica => system.world.pause_replica(n).await,
        Part::Agent => system.world.pause_agent(n).await,
        Part::Nats => system.world.nats.pause_node(n).await,
        Part::Mongod => system.world.mongods.as_mut().unwrap().pause(n).await,
    }
    evidence(pid, "is stopped", |state| state == Some('T')).await
}

pub async fn resume(system: &mut System, part: Part, n: usize) {
    match part {
        Part::Replica => system.world.resume_replica(n).await,
        Part::Agent => system.world.resume_agent(n).await,
        Part::Nats => system.world.nats.resume_node(n).await,
        Part::Mongod => system.world.mongods.as_mut().unwrap().resume(n).await,
    }
}

/// Stops and starts all processes of a part one by one, as a deployment does.
pub async fn roll(system: &mut System, part: Part) -> Vec<Evidence> {
    let mut evidences = Vec::new();
    for n in 0..count(system, part) {
        let pid = pid(system, part, n);
        match part {
            Part::Replica => system.world.stop_replica(n).await,
            Part::Agent => system.kill_agent(n).await,
            Part::Nats => system.world.nats.stop_node(n).await,
            Part::Mongod => system.world.mongods.as_mut().unwrap().stop(n).await,
        }
        evidences.push(evidence(pid, "is gone", is_gone).await);
        restart(system, part, n).await;
        tokio::time::sleep(ROLL_PAUSE).await;
    }
    evidences
}

/// Whether the kernel confirms the state of a process.
async fn evidence(pid: Option<u32>, what: &str, is_expected: impl Fn(Option<char>) -> bool) -> Evidence {
    let Some(pid) = pid else { return Evidence { what: format!("no process {what}"), confirmed: false } };
    let deadline = Instant::now() + SIGNAL_TIMEOUT;
    let mut confirmed = is_expected(state(pid));
    while !confirmed && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
        confirmed = is_expected(state(pid));
    }
    Evidence { what: format!("process {pid} {what}"), confirmed }
}

fn is_gone(state: Option<char>) -> bool {
    state.is_none_or(|state| state == 'Z')
}

/// The process's state letter in `/proc`.
fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}
