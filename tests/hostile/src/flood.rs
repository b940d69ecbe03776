//! Floods over connections to the broker, with the keys of one or more backends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::raw::{Raw, publish};
use crate::system::Hostile;

/// How often a connection sends its share of the rate.
const TICK: Duration = Duration::from_millis(5);
/// Different messages in a batch, for kinds whose messages differ.
const VARIANTS: usize = 64;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `PING`s, which the broker answers itself: what any client can cost the broker, and the flood's own cost.
    Pings,
    /// Messages on a subject of another backend, which the broker refuses.
    Denied,
    /// Reports `{}`.
    Reports,
    /// Reports about the backend's own instances, each of which changes something.
    ValidReports,
    /// Hellos with a reply subject.
    Hellos,
    /// Confirms about an instance that does not exist, with a reply subject.
    Confirms,
    /// Heartbeats `{}`.
    Heartbeats,
    /// Heartbeats as an agent sends them.
    ValidHeartbeats,
    /// Hellos as large as the broker allows, without a reply subject.
    LargeHellos,
    /// Connections with a key that is none, one after the other.
    WrongKeys,
}

/// One flood.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub kind: Kind,
    /// Messages per second over all connections.
    pub per_second: u64,
    /// Connections of each key.
    pub connections: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages written to a socket.
    pub sent: AtomicU64,
    /// Connections that were accepted.
    pub connected: AtomicU64,
    /// Connections that were closed.
    pub cut: AtomicU64,
    /// Connections that were refused.
    pub refused: AtomicU64,
}

impl Kind {
    /// So many messages.
    fn batch(self, hostile: &Hostile, count: usize) -> Vec<u8> {
        let variants: Vec<Vec<u8>> = (0..VARIANTS.min(count)).map(|variant| self.message(hostile, variant)).collect();
        variants.iter().cycle().take(count).flatten().copied().collect()
    }

    fn message(self, hostile: &Hostile, variant: usize) -> Vec<u8> {
        let backend = &hostile.id;
        let subject = |channel: &str| format!("dockhost.{channel}.{backend}");
        let reply = format!("_INBOX.{backend}.x");
        let confirm = format!(r#"{{"instanceId":"{backend}","placement":1,"generation":1}}"#);
        match self {
            Self::Pings => b"PING\r\n".to_vec(),
            Self::Denied => publish("dockhost.report.another", None, "{}"),
            Self::Reports => publish(&subject("report"), None, "{}"),
            Self::ValidReports => {
                let (user, instance) = &hostile.instances[variant % hostile.instances.len()];
                let report = json!({
                    "type": "instance-status", "instanceId": instance, "userId": user,
                    "placement": 1, "generation": 1, "phase": "running",
                    "containerId": format!("c{variant}"), "ports": { "ssh": 1024 + variant, "http": 2, "https": 3 },
                });
                publish(&subject("report"), None, &report.to_string())
            }
            Self::Hellos => publish(&subject("hello"), Some(&reply), "{}"),
            Self::Confirms => publish(&subject("confirm"), Some(&reply), &confirm),
            Self::Heartbeats => publish(&subject("heartbeat"), None, "{}"),
            Self::ValidHeartbeats => {
                // Unable, so that no honest user's instance is placed on it.
                let heartbeat = json!({
                    "address": "127.0.0.1", "containers": 1, "maxContainers": 1, "runtime": "simulated",
                    "agentVersion": format!("0.{variant}"), "load": 0.5, "memory": 0.5, "at": "2026-01-01T00:00:00.000Z",
                    "engine": { "state": "down", "reason": "none" },
                });
                publish(&subject("heartbeat"), None, &heartbeat.to_string())
            }
            Self::WrongKeys => vec![],
            Self::LargeHellos => publish(&subject("hello"), None, &"x".repeat(16_000)),
        }
    }
}

/// Sends until `stop`, and counts. A connection that is closed or refused is opened again at once.
pub async fn run(flood: Flood, broker: SocketAddr, hostile: &[Hostile], stop: CancellationToken, counts: &Arc<Counts>) {
    let all = flood.connections * u64::try_from(hostile.len()).unwrap();
    let per_tick = (flood.per_second * u64::try_from(TICK.as_millis()).unwrap() / 1000 / all).max(1);
    let mut connections = JoinSet::new();
    for hostile in hostile {
        let batch: Arc<[u8]> = flood.kind.batch(hostile, usize::try_from(per_tick).unwrap()).into();
        for _ in 0..flood.connections {
            let (counts, batch) = (Arc::clone(counts), Arc::clone(&batch));
            let key = if flood.kind == Kind::WrongKeys { "wrong".to_owned() } else { hostile.key.clone() };
            connections.spawn(stop.clone().run_until_cancelled_owned(async move {
                loop {
                    let Ok(mut raw) = Raw::connect(broker, &key).await else {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    counts.connected.fetch_add(1, Ordering::Relaxed);
                    let mut ticks = tokio::time::interval(TICK);
                    while raw.send(&batch).await.is_ok() {
                        counts.sent.fetch_add(per_tick, Ordering::Relaxed);
                        ticks.tick().await;
                    }
                    counts.cut.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    while connections.join_next().await.is_some() {}
}
