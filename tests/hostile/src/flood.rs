//! One backend's floods.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::raw::{Raw, publish};
use crate::system::Hostile;

/// How often a connection sends its share of the rate.
const TICK: Duration = Duration::from_millis(5);
/// The delay before a refused connection is tried again.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reports `{}`.
    Reports,
    /// Hellos with a reply subject.
    Hellos,
    /// Confirms about an instance that does not exist, with a reply subject.
    Confirms,
    /// Heartbeats `{}`.
    Heartbeats,
    /// Hellos as large as the broker allows, without a reply subject.
    LargeHellos,
}

/// One flood.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub kind: Kind,
    /// Messages per second over all connections.
    pub per_second: u64,
    pub connections: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages written to a socket.
    pub sent: AtomicU64,
    /// Connections that the broker accepted.
    pub connected: AtomicU64,
    /// Connections that the broker closed.
    pub cut: AtomicU64,
    /// Connections that the broker refused.
    pub refused: AtomicU64,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Reports, Self::Hellos, Self::Confirms, Self::Heartbeats, Self::LargeHellos];

    fn message(self, backend: &str) -> Vec<u8> {
        let subject = |channel: &str| format!("dockhost.{channel}.{backend}");
        let reply = format!("_INBOX.{backend}.x");
        let confirm = format!(r#"{{"instanceId":"{backend}","placement":1,"generation":1}}"#);
        match self {
            Self::Reports => publish(&subject("report"), None, "{}"),
            Self::Hellos => publish(&subject("hello"), Some(&reply), "{}"),
            Self::Confirms => publish(&subject("confirm"), Some(&reply), &confirm),
            Self::Heartbeats => publish(&subject("heartbeat"), None, "{}"),
            Self::LargeHellos => publish(&subject("hello"), None, &"x".repeat(16_000)),
        }
    }
}

/// Sends until `stop`. A connection that is cut is opened again.
pub async fn run(flood: Flood, broker: SocketAddr, hostile: &Hostile, stop: CancellationToken) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let message = flood.kind.message(&hostile.id);
    let per_tick = flood.per_second * u64::try_from(TICK.as_millis()).unwrap() / 1000 / flood.connections;
    let mut connections = JoinSet::new();
    for _ in 0..flood.connections {
        let (counts, key, stop) = (Arc::clone(&counts), hostile.key.clone(), stop.clone());
        let batch = message.repeat(usize::try_from(per_tick.max(1)).unwrap());
        connections.spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let Ok(mut raw) = Raw::connect(broker, &key).await else {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(RECONNECT_DELAY).await;
                    continue;
                };
                counts.connected.fetch_add(1, Ordering::Relaxed);
                let mut ticks = tokio::time::interval(TICK);
                while raw.send(&batch).await.is_ok() {
                    counts.sent.fetch_add(per_tick.max(1), Ordering::Relaxed);
                    ticks.tick().await;
                }
                counts.cut.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    while connections.join_next().await.is_some() {}
    counts
}
