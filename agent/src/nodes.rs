//! Which of the broker's nodes this agent uses.
//!
//! A node that is cut off from the other nodes keeps its clients' connections, and even the consumer's heartbeats may
//! go on. So the agent judges by what needs the rest of the cluster: the answers to a hello and to a heartbeat, which a
//! server gives only if its broker stores, and the storing of a report. After some seconds of trouble it goes to the next
//! address.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ReconnectToServer, Server};
use dockhost_domain::node_choice::{Patience, Rotation};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// What shows whether the broker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Hello is answered.
    Hello,
    /// Reports are stored.
    Reports,
    /// A server answers heartbeats.
    Heartbeats,
}

/// Since when each sign of a working broker is missing.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<[Option<Instant>; 3]>>);

impl Trouble {
    fn missing_since(&self) -> MutexGuard<'_, [Option<Instant>; 3]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether the broker has just worked.
    pub fn record(&self, sign: Sign, works: bool) {
        let since = &mut self.missing_since()[sign as usize];
        *since = if works { None } else { since.or_else(|| Some(Instant::now())) };
    }

    /// How long a sign is missing; zero if none is.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.missing_since().iter().flatten().map(Instant::elapsed).max().unwrap_or_default()
    }
}

/// The order in which the nodes are tried; clones share it.
#[derive(Debug, Clone)]
pub struct Nodes(Arc<Mutex<Rotation>>);

impl Default for Nodes {
    /// Begins with any node.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Rotation::starting_at(usize::from(rand::random::<u8>())))))
    }
}

impl Nodes {
    /// The node for the next attempt.
    #[must_use]
    pub fn choose(&self, servers: &[Server]) -> Option<ReconnectToServer> {
        let node = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(servers.len())?;
        // Without a delay of its own, the attempt waits as the client's options say.
        Some(ReconnectToServer { addr: servers.get(node)?.addr.clone(), delay: None })
    }
}

/// Leaves nodes that don't work, until `stop`. Does nothing if there is one address only.
pub async fn leave_nodes(client: &Client, addresses: usize, trouble: &Trouble, stop: &CancellationToken) {
    if addresses < 2 {
        return;
    }
    let (epoch, mut patience) = (Instant::now(), Patience::default());
    // With some difference, so that agents don't move in step.
    let interval = CHECK_INTERVAL.mul_f64(rand::random_range(0.8..=1.6));
    while stop.run_until_cancelled(sleep(interval)).await.is_some() {
        let silence = trouble.silence();
        // Without a connection the client looks for a node by itself.
        let connected = client.connection_state() == State::Connected;
        if connected && patience.leaves(epoch.elapsed(), silence) {
            tracing::warn!(seconds = silence.as_secs(), "the broker does not work here; going to its next node");
            // Fails only if the client is closed.
            let _ = client.force_reconnect().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_lasts_until_the_sign_that_was_missing_is_back() {
        let trouble = Trouble::default();
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        trouble.record(Sign::Hello, true);
        assert_eq!(trouble.silence(), Duration::ZERO);
        trouble.record(Sign::Reports, false);
        pass(3).await;
        trouble.record(Sign::Reports, false);
        trouble.record(Sign::Heartbeats, true);
        assert_eq!(trouble.silence(), Duration::from_secs(3), "since the first failure");
        trouble.record(Sign::Hello, false);
        pass(1).await;
        trouble.record(Sign::Reports, true);
        assert_eq!(trouble.silence(), Duration::from_secs(1));
        trouble.record(Sign::Hello, true);
        assert_eq!(trouble.silence(), Duration::ZERO);
    }
}
