//! Which of the broker's nodes this replica uses: the order in which its connections try them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::{ReconnectToServer, Server};
use dockhost_domain::node_choice::Rotation;

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
