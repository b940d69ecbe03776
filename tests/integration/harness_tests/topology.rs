//! The harness's topologies: a system on each works, and restarted parts keep their identity.

use serde_json::json;

use crate::harness::topology::{Members, Nodes};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

/// Signs a user up, creates an instance through each replica, and verifies.
async fn check_system(world: &mut World) {
    let name = format!("user{}", world.agents.len());
    world.add_agent(&format!("agent{}", world.agents.len()), 5).await;
    let ada = world.user(&name).await;
    for replica in &world.replicas {
        let created = ada.at(&replica.url).create().await;
        assert_eq!((created.status, &created.data()["status"]), (201, &json!("running")), "{created:?}");
    }
    world.verify().await;
}

#[tokio::test]
async fn topology_one_node_all_connections_use_proxies() {
    let mut world = World::on(Topology::ONE.with_own_database().proxied(), 2, &[]).await;
    check_system(&mut world).await;
    for proxy in world.replicas.iter().flat_map(|replica| replica.proxies.all()) {
        assert!(proxy.connections() > 0, "unused: {proxy:?}");
    }
    assert!(world.agents[0].proxies.broker[0].connections() > 0, "the agent bypassed its proxy");
}

#[tokio::test]
async fn topology_three_nodes_killed_parts_restart_as_themselves() {
    let topology = Topology { broker: Nodes::ThreeProxiedRoutes, database: Members::OwnSet, proxied: true };
    let mut world = World::on(topology, 3, &[]).await;
    check_system(&mut world).await;
    let (node, url) = (world.nats.leader_of("EVENTS").await, world.replicas[1].url.clone());
    world.nats.kill_node(node).await;
    world.kill_replica(1).await;
    let mongods = world.mongods.as_mut().unwrap();
    let primary = mongods.primary().await;
    mongods.kill(primary).await;
    assert_ne!(mongods.primary().await, primary);
    mongods.restart(primary).await;
    world.nats.restart_node(node).await;
    world.restart_replica(1).await;
    assert_eq!(world.replicas[1].url, url);
    for replica in 0..3 {
        let client = world.client(replica);
        wait_until("the replica is healthy", DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
    }
    check_system(&mut world).await;

    // An isolated node loses the stream's leadership; after rejoining it follows.
    let node = world.nats.leader_of("EVENTS").await;
    world.nats.isolate(node);
    wait_until("another node leads", DEADLINE, async || {
        let leader = world.nats.leader_of("EVENTS").await;
        if leader == node { Err(leader) } else { Ok(()) }
    })
    .await;
    world.nats.rejoin(node);
    let broker = world.nats.main().await;
    wait_until("all nodes are current", DEADLINE, async || {
        let stream = broker.jetstream().get_stream("EVENTS").await.map_err(|error| error.to_string())?;
        let replicas = stream.cached_info().cluster.clone().unwrap().replicas;
        let current = replicas.len() == 2 && replicas.iter().all(|peer| peer.current && !peer.offline);
        if current { Ok(()) } else { Err(format!("{replicas:?}")) }
    })
    .await;
}
