//! Another replica takes over when the leader dies, hangs or is cut off, and the old leader causes no damage. How soon is
//! measured by `make availability`, on a machine that does nothing else.

use super::{INSTANCE, client_per_replica, contains, create_async, create_within, list_after, on_both, position};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Proxy, Topology, World, wait_until};

/// Instances requested just before the leader fails, so that it is still working on them.
const REQUESTED_BEFORE: usize = 4;

/// How a leader fails.
#[derive(Clone, Copy, PartialEq)]
enum Failure {
    Killed,
    Paused,
    CutOff,
    HalfOpen,
}

on_both!(
    leader_killed_another_takes_over,
    leader_paused_is_fenced_when_it_resumes,
    leader_cut_off_from_broker_is_replaced,
    leader_half_open_broker_link_is_replaced,
);

async fn leader_killed_another_takes_over(topology: Topology) {
    check_failover(topology, Failure::Killed).await;
}

async fn leader_paused_is_fenced_when_it_resumes(topology: Topology) {
    check_failover(topology, Failure::Paused).await;
}

async fn leader_cut_off_from_broker_is_replaced(topology: Topology) {
    check_failover(topology.proxied(), Failure::CutOff).await;
}

async fn leader_half_open_broker_link_is_replaced(topology: Topology) {
    check_failover(topology.proxied(), Failure::HalfOpen).await;
}

async fn check_failover(topology: Topology, failure: Failure) {
    let mut world = World::on(topology, 3, &[]).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = client_per_replica(&world, "ada").await;
    let leader = world.leader().await;
    let survivors = [&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]];
    let mut requested = 0;
    for _ in 0..REQUESTED_BEFORE {
        create_async(&ada[leader]).await;
        requested += 1;
    }
    let proxies = |world: &World, act: fn(&Proxy)| {
        world.replicas[leader].proxies.broker.iter().for_each(act);
    };
    match failure {
        Failure::Killed => world.kill_replica(leader).await,
        Failure::Paused => world.pause_replica(leader).await,
        Failure::CutOff => proxies(&world, Proxy::cut),
        Failure::HalfOpen => proxies(&world, Proxy::half_open),
    }
    // Dispatcher, intake and projector run on the new leader.
    create_within(survivors[0], "a survivor creates", DEADLINE).await;
    let list = survivors[1].get(INSTANCE).await;
    assert!(!list.data().as_array().unwrap().is_empty(), "{list:?}");
    assert_ne!(world.leader_but(Some(leader)).await, leader);
    let mut clients = survivors.to_vec();
    match failure {
        Failure::Killed => {}
        Failure::Paused => world.resume_replica(leader).await,
        Failure::CutOff | Failure::HalfOpen => proxies(&world, Proxy::heal),
    }
    if failure != Failure::Killed {
        wait_until("the old leader has stepped down", DEADLINE, async || {
            if world.replicas[leader].leads() { Err("it still leads") } else { Ok(()) }
        })
        .await;
        clients.push(&ada[leader]);
    }
    // Including the old leader.
    for client in &clients {
        wait_until("the replica is healthy", DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
        create_async(client).await;
        requested += 1;
    }
    // At least one create of the survivor succeeded; the number of its attempts is unknown.
    let count = wait_until_all_run(&clients, requested + 1).await;
    assert_eq!(world.containers(alpha).ever.len(), count, "each container was created once");
    world.verify().await;
    world.check_log().await;
}

/// Waits until every replica shows all instances running; returns their number.
async fn wait_until_all_run(clients: &[&Client], at_least: usize) -> usize {
    let last = create_async(clients[0]).await;
    let mut count = 0;
    for client in clients {
        count = wait_until("all instances run", DEADLINE, async || {
            let list = list_after(client, position(&last)).await;
            let all = list.data().as_array().cloned().unwrap_or_default();
            let run = all.len() > at_least && all.iter().all(|instance| instance["status"] == "running");
            if run { Ok(all.len()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }
    count
}

/// It could renew the lease, but the read models would not advance.
#[tokio::test]
async fn leader_cut_off_from_database_yields_to_another() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = client_per_replica(&world, "ada").await;
    for fault in [Proxy::cut, Proxy::half_open] {
        let leader = world.leader().await;
        let survivors = [&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]];
        fault(world.replicas[leader].proxies.database.as_ref().unwrap());
        let created = create_async(survivors[0]).await;
        wait_until("a survivor projects", DEADLINE, async || {
            let list = list_after(survivors[1], position(&created)).await;
            if contains(&list, &created) { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
        assert_ne!(world.leader_but(Some(leader)).await, leader);
        world.replicas[leader].proxies.heal();
        wait_until("the old leader has stepped down", 2 * DEADLINE, async || {
            if world.replicas[leader].leads() { Err("it still leads") } else { Ok(()) }
        })
        .await;
        wait_until("the old leader serves reads", DEADLINE, async || {
            let list = list_after(&ada[leader], position(&created)).await;
            if contains(&list, &created) { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }
    world.verify().await;
    world.check_log().await;
}
