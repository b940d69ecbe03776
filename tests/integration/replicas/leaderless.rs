//! A system that nobody leads carries nothing out: `/health` says so, although the broker answers.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use dockhost::broker::streams::LEADER_STREAM;
use serde_json::json;

use super::create_within;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// Three times as long as `/health` takes by design.
const REPORT_DEADLINE: Duration = Duration::from_secs(45);

#[tokio::test]
async fn health_while_nobody_leads_is_503_with_the_reason() {
    let world = World::start(2).await;
    world.leader().await;
    // No lease can be acquired or renewed, although the stream has a leader and the broker stores.
    let js = world.nats.main().await.jetstream().clone();
    let right = js.get_stream(LEADER_STREAM).await.unwrap().cached_info().config.clone();
    js.update_stream(&Config { max_message_size: 1, ..right.clone() }).await.unwrap();
    for replica in 0..2 {
        let client = world.client(replica);
        let health = wait_until("the replica reports that nobody leads", REPORT_DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 503 { Ok(health.body) } else { Err(health.body) }
        })
        .await;
        assert_eq!((&health["status"], &health["down"]), (&json!("unhealthy"), &json!(["leader"])), "{health}");
        assert!(health["problems"][0].as_str().is_some_and(|text| text.starts_with("nobody leads: ")), "{health}");
        assert_eq!((&health["broker"], &health["database"]), (&json!("connected"), &json!("connected")), "{health}");
        let log = std::fs::read_to_string(&world.replicas[replica].log).unwrap();
        assert_eq!(log.matches("nobody leads: no server renews").count(), 1, "{log}");
    }
    js.update_stream(&right).await.unwrap();
    for replica in 0..2 {
        let client = world.client(replica);
        wait_until("a replica leads again", REPORT_DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(health.body) }
        })
        .await;
    }
}

/// The lease is in memory, so a broker of one node that restarts has lost its stream.
#[tokio::test]
async fn lease_whose_stream_is_gone_is_acquired_in_a_new_one() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    create_within(&ada, "an instance runs", DEADLINE).await;
    world.nats.restart().await;
    create_within(&ada, "an instance runs after the broker's restart", DEADLINE).await;
    world.nats.main().await.jetstream().delete_stream(LEADER_STREAM).await.unwrap();
    create_within(&ada, "an instance runs although the stream was deleted", DEADLINE).await;
    world.verify().await;
    world.check_log().await;
}
