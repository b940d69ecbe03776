//! One attack: an honest user before, during and after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use dockhost_harness::{Monitor, World};
use tokio_util::sync::CancellationToken;

use crate::flood::{self, Counts, Flood};
use crate::honest::{Creates, create_until};
use crate::observation::Observation;
use crate::processor::Processor;
use crate::sockets::{self, Sockets};
use crate::system::Hostile;

/// An attack.
#[derive(Debug, Clone, Copy)]
pub enum Attack {
    /// Messages to the broker.
    Messages(Flood),
    /// Connections to the API of the first replica.
    Connections(Sockets),
}

/// How long each phase takes, and how many creates it has at least.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    pub length: Duration,
    pub least_creates: usize,
}

/// One phase.
#[derive(Debug)]
pub struct Phase {
    pub creates: Creates,
    pub length: Duration,
    pub processor: Processor,
}

/// The result of one attack.
#[derive(Debug)]
pub struct Outcome {
    pub attack: Attack,
    pub quiet: Phase,
    pub during: Phase,
    pub after: Phase,
    pub observed_before: Observation,
    /// While the attack goes on.
    pub observed_during: Observation,
    pub sent: u64,
    pub cut: u64,
    pub refused: u64,
}

impl Attack {
    /// Attacks with the keys of these backends until `stop`.
    async fn run(self, broker: SocketAddr, api: SocketAddr, keys: &[Hostile], stop: CancellationToken) -> Arc<Counts> {
        match self {
            Self::Messages(flood) => {
                let counts = Arc::default();
                flood::run(flood, broker, keys, stop, &counts).await;
                counts
            }
            Self::Connections(flood) => sockets::run(flood, api, stop).await,
        }
    }

    /// Its name and size.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Messages(Flood { kind, per_second, .. }) => format!("{kind:?} {per_second}/s"),
            Self::Connections(Sockets { behaviour, connections, .. }) => format!("{behaviour:?} {connections} sockets"),
        }
    }
}

async fn phase(world: &World, user: &Client, phases: Phases) -> Phase {
    let (start, before) = (Instant::now(), Processor::of(world));
    let creates = create_until(user, start + phases.length, phases.least_creates).await;
    Phase { creates, length: start.elapsed(), processor: Processor::of(world).since(before) }
}

/// Runs one attack.
pub async fn run(world: &World, keys: &[Hostile], user: &Client, attack: Attack, phases: Phases) -> Outcome {
    let monitor = Monitor::of(&world.nats).await;
    let quiet = phase(world, user, phases).await;
    let observed_before = Observation::of(world, &monitor).await;
    let stop = CancellationToken::new();
    let (broker, api) = (world.nats.address(), world.replicas[0].url.trim_start_matches("http://").parse().unwrap());
    let attacking = tokio::spawn({
        let (keys, stop) = (keys.to_vec(), stop.clone());
        async move { attack.run(broker, api, &keys, stop).await }
    });
    let during = phase(world, user, phases).await;
    let observed_during = Observation::of(world, &monitor).await;
    stop.cancel();
    let counts = attacking.await.unwrap();
    let after = phase(world, user, phases).await;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, cut, refused) = (read(&counts.sent), read(&counts.cut), read(&counts.refused));
    Outcome { attack, quiet, during, after, observed_before, observed_during, sent, cut, refused }
}

impl Outcome {
    /// What honest users must not notice and did. No times: those depend on the machine.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        let (before, during) = (&self.observed_before, &self.observed_during);
        let mut damage: Vec<String> = Vec::new();
        for (name, phase) in [("quiet", &self.quiet), ("during", &self.during), ("after", &self.after)] {
            damage.extend(phase.creates.failed.iter().map(|answer| format!("create failed ({name}): {answer}")));
        }
        if before.lease_changes != during.lease_changes {
            damage.push("the lease changed its holder".to_owned());
        }
        if before.machines_lost != during.machines_lost {
            damage.push("an honest machine was judged lost".to_owned());
        }
        if !before.server_connections.iter().all(|connection| during.server_connections.contains(connection)) {
            damage.push(format!("a server's own connection was cut: {during:?}"));
        }
        damage
    }
}
