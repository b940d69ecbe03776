//! The state that an attack must not change, and what it costs.

use dockhost_harness::monitor::Connection;
use dockhost_harness::{Monitor, World};

use crate::system::HONEST;

/// What is observed before and after an attack.
#[derive(Debug, PartialEq, Eq)]
pub struct Observation {
    /// How often a replica began or ceased to lead, by the replicas' logs.
    pub lease_changes: usize,
    /// How often an honest machine was judged lost, by its events.
    pub machines_lost: usize,
    /// The servers' own connections, without those for what agents send.
    pub server_connections: Vec<Connection>,
    /// Connections of anybody that the broker cut because they read too slowly.
    pub slow_consumers: u64,
    /// Memory of the broker in bytes.
    pub broker_memory: u64,
    /// Memory of all replicas in bytes.
    pub server_memory: u64,
}

impl Observation {
    pub async fn of(world: &World, monitor: &Monitor) -> Self {
        let mut server_connections = monitor.server_connections().await;
        server_connections.retain(|connection| !connection.name.ends_with("-agents"));
        for connection in &mut server_connections {
            // Inboxes come and go.
            connection.subjects.clear();
        }
        server_connections.sort_by(|a, b| a.name.cmp(&b.name));
        let logs: Vec<String> =
            world.replicas.iter().map(|replica| std::fs::read_to_string(&replica.log).unwrap_or_default()).collect();
        let count = |text: &str| logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(text)).count();
        let pids = world.replicas.iter().filter_map(|replica| replica.process.as_ref()?.pid());
        Self {
            lease_changes: count("this replica is"),
            machines_lost: lost(world).await,
            server_connections,
            slow_consumers: monitor.slow_consumers().await,
            broker_memory: monitor.memory().await,
            server_memory: pids.map(resident).sum(),
        }
    }
}

/// How often honest machines were judged lost: each has a `connected` event at its start, and `lost` and `connected` ones
/// for each time.
async fn lost(world: &World) -> usize {
    let mut lost = 0;
    for name in HONEST {
        let answer = world.backend(name).await.get("/api/v2/backend").await;
        let id = answer.data()["id"].as_str().unwrap_or_default().to_owned();
        let broker = world.nats.main().await;
        let stream = broker.jetstream().get_stream("EVENTS").await.unwrap();
        let mut from = 1;
        let subject = format!("dockhost.event.backend.{id}");
        while let Ok(message) = stream.raw_message_builder().sequence(from).next_by_subject(&subject).send().await {
            let kind = message.headers.get("ce-type").map(ToString::to_string).unwrap_or_default();
            lost += usize::from(kind.contains(".lost."));
            from = message.sequence + 1;
        }
    }
    lost
}

/// The resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) << 10
}
