//! Leaves a node of the broker that does not work.
//!
//! The client stays on a node as long as its connection holds. A node that is cut off from the other two keeps the
//! connection but stores nothing, so after some seconds without an acknowledged write the replica goes to the next
//! address, with both of its connections.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::node_choice::Patience;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connect::Broker;
use super::write_proof::WriteProof;

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the second connection waits for the first one to find a node.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);

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
