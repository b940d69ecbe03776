//! The leader's roles, the projectors among them, move on when their holder dies, hangs or is cut off; and what the
//! late one still does, does no harm.

use std::time::Duration;

use super::{INSTANCE, ask, at_each, create_within, has, list_after, on_both, position};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Proxy, Topology, World, wait_until};

/// A survivor leads within this.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// Instances that are asked for before the leader fails: it is in the midst of them then.
const BEFORE: usize = 4;

/// How a leader fails.
#[derive(Clone, Copy, PartialEq)]
enum Failure {
    Killed,
    Paused,
    CutOff,
    HalfOpen,
}

on_both!(
    when_the_leader_dies_another_takes_over,
    a_leader_that_hangs_does_no_harm_when_it_wakes_up,
    a_leader_that_is_cut_off_is_replaced,
    a_leader_whose_link_is_half_open_is_replaced,
);

async fn when_the_leader_dies_another_takes_over(topology: Topology) {
    a_leader_fails(topology, Failure::Killed).await;
}

async fn a_leader_that_hangs_does_no_harm_when_it_wakes_up(topology: Topology) {
    a_leader_fails(topology, Failure::Paused).await;
}

async fn a_leader_that_is_cut_off_is_replaced(topology: Topology) {
    a_leader_fails(topology.proxied(), Failure::CutOff).await;
}

async fn a_leader_whose_link_is_half_open_is_replaced(topology: Topology) {
    a_leader_fails(topology.proxied(), Failure::HalfOpen).await;
}

async fn a_leader_fails(topology: Topology, failure: Failure) {
    let mut world = World::on(topology, 3, &[]).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    let leader = world.leader().await;
    let survivors = [&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]];
    let mut asked = 0;
    for _ in 0..BEFORE {
        ask(&ada[leader]).await;
        asked += 1;
    }
    let cables = |world: &World, act: fn(&Proxy)| {
        world.replicas[leader].cables.broker.iter().for_each(act);
    };
    match failure {
        Failure::Killed => world.kill_replica(leader).await,
        Failure::Paused => world.pause_replica(leader).await,
        Failure::CutOff => cables(&world, Proxy::cut),
        Failure::HalfOpen => cables(&world, Proxy::half_open),
    }
    // The roles that make it run have moved, and the projector that shows it.
    create_within(survivors[0], "a survivor creates", TAKE_OVER).await;
    let list = survivors[1].get(INSTANCE).await;
    assert!(!list.data().as_array().unwrap().is_empty(), "{list:?}");
    assert_ne!(world.leader_but(Some(leader)).await, leader);
    let mut clients = survivors.to_vec();
    match failure {
        Failure::Killed => {}
        Failure::Paused => world.resume_replica(leader).await,
        Failure::CutOff | Failure::HalfOpen => cables(&world, Proxy::heal),
    }
    if failure != Failure::Killed {
        wait_until("the late one knows that it leads no more", DEADLINE, async || {
            if world.replicas[leader].leads() { Err("it thinks that it leads") } else { Ok(()) }
        })
        .await;
        clients.push(&ada[leader]);
    }
    // Whoever is asked, the late one too.
    for client in &clients {
        wait_until("all take commands", DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
        ask(client).await;
        asked += 1;
    }
    // One create came through while it was away; how often it was tried is not known.
    let made = all_run(&clients, asked + 1).await;
    assert_eq!(world.containers(alpha).ever.len(), made, "each was made once");
    world.verify().await;
    world.check_log().await;
}

/// Waits until all instances run, wherever one looks; returns how many there are.
async fn all_run(clients: &[&Client], at_least: usize) -> usize {
    let last = ask(clients[0]).await;
    let mut made = 0;
    for client in clients {
        made = wait_until("all instances run", DEADLINE, async || {
            let list = list_after(client, position(&last)).await;
            let all = list.data().as_array().cloned().unwrap_or_default();
            let run = all.len() > at_least && all.iter().all(|instance| instance["status"] == "running");
            if run { Ok(all.len()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }
    made
}

/// It still holds the lease, and the others would wait for ever for what it can't project.
#[tokio::test]
async fn a_leader_that_alone_is_cut_off_from_the_database_gives_way() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    for fault in [Proxy::cut, Proxy::half_open] {
        let leader = world.leader().await;
        let survivors = [&ada[(leader + 1) % 3], &ada[(leader + 2) % 3]];
        fault(world.replicas[leader].cables.database.as_ref().unwrap());
        let created = ask(survivors[0]).await;
        wait_until("a survivor projects", TAKE_OVER, async || {
            let list = list_after(survivors[1], position(&created)).await;
            if has(&list, &created) { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
        assert_ne!(world.leader_but(Some(leader)).await, leader);
        world.replicas[leader].cables.heal();
        wait_until("the late one knows that it leads no more", 2 * DEADLINE, async || {
            if world.replicas[leader].leads() { Err("it thinks that it leads") } else { Ok(()) }
        })
        .await;
        wait_until("the late one is well", DEADLINE, async || {
            let list = list_after(&ada[leader], position(&created)).await;
            if has(&list, &created) { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }
    world.verify().await;
    world.check_log().await;
}
