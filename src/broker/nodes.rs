//! Which of the broker's nodes this replica uses.
//!
//! The client stays on a node as long as its connection holds. A node that is cut off from the other two keeps the
//! connection but stores nothing, so after some seconds without an acknowledged write the replica goes to the next
//! address, with both of its connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{ReconnectToServer, Server};
use dockhost_domain::node_choice::{Patience, Rotation};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connect::Broker;
use super::write_proof::WriteProof;

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the second connection waits for the first one to find a node.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One of a replica's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// For the server's own traffic.
    Own,
    /// For what agents send.
    Agents,
}

/// The nodes that a replica's connections use.
#[derive(Debug)]
pub struct Nodes(Mutex<State>);

#[derive(Debug)]
struct State {
    own: Rotation,
    agents: Rotation,
    /// The node that [`Connection::Own`] tried last.
    current: usize,
}

impl Default for Nodes {
    /// Begins with any node.
    fn default() -> Self {
        let start = usize::from(rand::random::<u8>());
        let own = Rotation::starting_at(start);
        Self(Mutex::new(State { own, agents: own, current: start }))
    }
}

impl Nodes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node for a connection's next attempt.
    pub(super) fn choose(&self, connection: Connection, servers: &[Server]) -> Option<ReconnectToServer> {
        let mut state = self.state();
        let node = match connection {
            Connection::Own => {
                state.current = state.own.take(servers.len())?;
                state.current
            }
            Connection::Agents => state.agents.take(servers.len())?,
        };
        // Without a delay of its own, the attempt waits as `reconnect_delay` says.
        Some(ReconnectToServer { addr: servers.get(node)?.addr.clone(), delay: None })
    }

    /// The next attempt for [`Connection::Agents`] is at the node of [`Connection::Own`].
    pub(super) fn follow(&self) {
        let mut state = self.state();
        state.agents = Rotation::starting_at(state.current);
    }
}

/// Leaves nodes that acknowledge no write, until cancelled. Does nothing if there is one address only.
pub async fn run(own: Broker, agents: Broker, proof: Arc<WriteProof>, cancel: CancellationToken) {
    if own.addresses() < 2 {
        cancel.cancelled().await;
        return;
    }
    let (epoch, mut patience) = (Instant::now(), Patience::default());
    // With some difference, so that replicas don't move in step.
    let interval = CHECK_INTERVAL.mul_f64(rand::random_range(0.8..=1.6));
    while cancel.run_until_cancelled(sleep(interval)).await.is_some() {
        // Without a connection the client looks for a node by itself.
        let silence = proof.age();
        if own.is_connected() && patience.leaves(epoch.elapsed(), silence) {
            tracing::warn!(
                seconds = silence.as_secs(),
                "the broker has acknowledged no write for too long; going to the next node"
            );
            if cancel.run_until_cancelled(leave(&own, &agents)).await.is_none() {
                return;
            }
        }
    }
}

async fn leave(own: &Broker, agents: &Broker) {
    // Fails only if the client is closed.
    let _ = own.client().force_reconnect().await;
    let deadline = Instant::now() + MOVE_TIMEOUT;
    loop {
        sleep(CHECK_INTERVAL).await;
        if own.is_connected() || Instant::now() >= deadline {
            break;
        }
    }
    own.nodes().follow();
    let _ = agents.client().force_reconnect().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_connection_follows_to_the_node_of_the_other_one() {
        let mut state = State { own: Rotation::starting_at(1), agents: Rotation::starting_at(1), current: 1 };
        assert_eq!(state.own.take(3), Some(1));
        let nodes = Nodes(Mutex::new(state));
        nodes.state().current = 2;
        nodes.follow();
        assert_eq!(nodes.state().agents.take(3), Some(2));
    }
}
