//! What agents send arrives on a connection of its own.

use crate::harness::monitor::Connection;
use crate::harness::wait::DEADLINE;
use crate::harness::{Monitor, World, wait_until};

/// Subjects that agents publish to.
const FROM_AGENTS: [&str; 3] = ["dockhost.hello.*", "dockhost.confirm.*", "dockhost.heartbeat.*"];

/// The connection for what agents send, and the one for everything else.
async fn connections(monitor: &Monitor) -> (Connection, Connection) {
    wait_until("a replica has two connections", DEADLINE, async || {
        let found = monitor.server_connections().await;
        match found.iter().partition::<Vec<_>, _>(|connection| connection.name.ends_with("-agents")) {
            (agents, own) if agents.len() == 1 && own.len() == 1 => Ok((agents[0].clone(), own[0].clone())),
            _ => Err(format!("{found:?}")),
        }
    })
    .await
}

/// A slow-consumer cut is one way to lose the connection for agents; closing it does the same to the replica.
#[tokio::test]
async fn agent_connection_closed_leaves_the_other_one_alone() {
    let mut world = World::start(1).await;
    world.add_agent("machine", 4).await;
    let monitor = Monitor::of(&world.nats).await;
    let (agents, own) = connections(&monitor).await;
    for subject in FROM_AGENTS {
        assert!(agents.subjects.iter().any(|known| known == subject), "{subject}: {agents:?}");
        assert!(!own.subjects.iter().any(|known| known == subject), "{subject}: {own:?}");
    }
    monitor.kick(&agents).await;
    let reopened = wait_until("the connection for agents is back", DEADLINE, async || {
        let (now, _) = connections(&monitor).await;
        if now.cid == agents.cid { Err("still open") } else { Ok(now) }
    })
    .await;
    assert_ne!(reopened.cid, agents.cid);
    let user = world.user("ada").await;
    assert_eq!(user.create().await.status, 201);
    assert_eq!(connections(&monitor).await.1.cid, own.cid, "the other connection was closed, too");
}
