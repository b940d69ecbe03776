//! Without the broker writes are refused and reads go on, however it is that the broker is gone.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{INSTANCE, at_each, create_within, health_says, is_refusal, on_both};
use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{Proxy, Topology, World, wait_until};

/// Far below the time that an answer of the broker is waited for.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What a request takes at most whose every question goes unanswered.
const BOUND: Duration = Duration::from_secs(30);

on_both!(without_the_broker_reads_go_on_and_writes_say_so);

async fn without_the_broker_reads_go_on_and_writes_say_so(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    let before = ada[0].get(INSTANCE).await;
    for client in &ada {
        assert_eq!(client.get(INSTANCE).await.data(), before.data());
    }

    world.nats.kill().await;
    for client in &ada {
        wait_until("a write is refused", DEADLINE, async || {
            let refused = client.create().await;
            if is_refusal(&refused, "broker_unavailable") { Ok(()) } else { Err(format!("{refused:?}")) }
        })
        .await;
        refuses_at_once(client).await;
        let list = client.get(INSTANCE).await;
        assert_eq!((list.status, list.data()), (200, before.data()), "{list:?}");
        health_says(client, &["broker"]).await;
        let health = client.get("/health").await;
        assert_eq!((&health.body["broker"], &health.body["database"]), (&json!("down"), &json!("up")));
    }

    world.nats.restart().await;
    for client in &ada {
        create_within(client, "writes go on", 2 * DEADLINE).await;
        health_says(client, &[]).await;
    }
    world.verify().await;
    world.check_log().await;
}

/// Not one answer is waited for; a busy machine may be late once, but not each time.
async fn refuses_at_once(client: &Client) {
    let mut quickest = BOUND;
    for _ in 0..5 {
        let asked = Instant::now();
        let refused = client.create().await;
        assert!(is_refusal(&refused, "broker_unavailable"), "{refused:?}");
        quickest = quickest.min(asked.elapsed());
    }
    assert!(quickest < AT_ONCE, "{quickest:?}");
}

/// The link looks whole and nothing comes of it: no answer takes for ever, and what is refused is not done.
#[tokio::test]
async fn a_broker_behind_a_half_open_link_does_not_hold_answers_up() {
    let mut world = World::on(Topology::ONE.proxied(), 3, &[]).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = at_each(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    let before = ada[0].get(INSTANCE).await;
    for client in &ada {
        assert_eq!(client.get(INSTANCE).await.data(), before.data());
    }
    // One replica's link: the others go on.
    let victim = (world.leader().await + 1) % 3;
    let cable = &world.replicas[victim].cables.broker[0];
    cable.half_open();
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let anybody = world.client(victim);
    let requests = async || {
        let (created, signed_in) = tokio::join!(
            timeout(BOUND, ada[victim].create()),
            timeout(BOUND, anybody.post("/api/v2/user/signin", signin.clone())),
        );
        for answer in [created.expect("no answer to a create"), signed_in.expect("no answer to a sign-in")] {
            let refused = is_refusal(&answer, "broker_unavailable") || is_refusal(&answer, "outcome_unknown");
            assert!(refused, "{answer:?}");
        }
    };
    requests().await;
    assert!(cable.lost_bytes() > 0, "the fault met no traffic");
    let list = ada[victim].get(INSTANCE).await;
    assert_eq!((list.status, list.data()), (200, before.data()), "{list:?}");
    health_says(&ada[victim], &["broker"]).await;
    // Once the link is known to be dead, nothing is waited for.
    wait_until("writes are refused without a question", DEADLINE, async || {
        let refused = ada[victim].create().await;
        if is_refusal(&refused, "broker_unavailable") { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
    requests().await;
    create_within(&ada[(victim + 1) % 3], "another replica creates", DEADLINE).await;

    world.replicas[victim].cables.broker.iter().for_each(Proxy::heal);
    create_within(&ada[victim], "writes go on", DEADLINE).await;
    health_says(&ada[victim], &[]).await;
    let list = wait_until("all run", DEADLINE, async || {
        let list = ada[victim].get(INSTANCE).await;
        let all = list.data().as_array().cloned().unwrap_or_default();
        let run = all.iter().all(|instance| instance["status"] == "running");
        if run { Ok(all.len()) } else { Err(format!("{list:?}")) }
    })
    .await;
    assert_eq!(world.containers(alpha).ever.len(), list, "each was made once");
    world.verify().await;
    world.check_log().await;
}
