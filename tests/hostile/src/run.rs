//! One flood: an honest user before, during and after it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dockhost_harness::http::Client;
use dockhost_harness::{Monitor, World};
use tokio_util::sync::CancellationToken;

use crate::flood::{self, Flood};
use crate::honest::{Creates, create_until};
use crate::observation::Observation;
use crate::system::Hostile;

/// How long each phase takes, and how many creates it has at least.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    pub length: Duration,
    pub least_creates: usize,
}

/// The result of one flood.
#[derive(Debug)]
pub struct Outcome {
    pub flood: Flood,
    pub quiet: Creates,
    pub during: Creates,
    pub after: Creates,
    pub observed_before: Observation,
    /// While the flood goes on.
    pub observed_during: Observation,
    pub sent: u64,
    pub cut: u64,
    pub refused: u64,
}

/// Runs one flood.
pub async fn run(world: &World, hostile: &Hostile, user: &Client, flood: Flood, phases: Phases) -> Outcome {
    let monitor = Monitor::of(&world.nats).await;
    let phase = || create_until(user, Instant::now() + phases.length, phases.least_creates);
    let quiet = phase().await;
    let observed_before = Observation::of(world, &monitor).await;
    let stop = CancellationToken::new();
    let broker = world.nats.address();
    let sending = tokio::spawn({
        let (hostile, stop) = (hostile.clone(), stop.clone());
        async move { flood::run(flood, broker, &hostile, stop).await }
    });
    let during = phase().await;
    let observed_during = Observation::of(world, &monitor).await;
    stop.cancel();
    let counts = sending.await.unwrap();
    let after = phase().await;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (sent, cut, refused) = (read(&counts.sent), read(&counts.cut), read(&counts.refused));
    Outcome { flood, quiet, during, after, observed_before, observed_during, sent, cut, refused }
}

impl Outcome {
    /// What honest users must not notice and did. No times: those depend on the machine.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        let (before, during) = (&self.observed_before, &self.observed_during);
        let mut damage: Vec<String> = Vec::new();
        for (phase, creates) in [("quiet", &self.quiet), ("during", &self.during), ("after", &self.after)] {
            damage.extend(creates.failed.iter().map(|answer| format!("create failed ({phase}): {answer}")));
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
