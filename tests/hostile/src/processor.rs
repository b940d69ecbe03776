//! The processor time of the system's processes and of the attack itself, which runs on the same machine.

use std::time::Duration;

use dockhost_harness::World;

/// Processor time in user and system mode since the processes started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    /// This process: the attack, and the honest user.
    pub attack: Duration,
    pub broker: Duration,
    /// All replicas.
    pub servers: Duration,
}

impl Processor {
    pub fn of(world: &World) -> Self {
        let replicas = world.replicas.iter().filter_map(|replica| replica.process.as_ref()?.pid());
        Self {
            attack: time(std::process::id()),
            broker: world.nats.pids().into_iter().map(time).sum(),
            servers: replicas.map(time).sum(),
        }
    }

    /// The time since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            attack: self.attack.saturating_sub(earlier.attack),
            broker: self.broker.saturating_sub(earlier.broker),
            servers: self.servers.saturating_sub(earlier.servers),
        }
    }
}

/// The processor time of one process.
fn time(pid: u32) -> Duration {
    /// The unit of the kernel's figures, on all systems of today.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may contain blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}
