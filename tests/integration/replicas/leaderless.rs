//! A system that nobody leads carries nothing out: `/health` says so, although the broker answers.

use std::time::Duration;

use serde_json::json;

use crate::harness::{World, wait_until};

/// Three times as long as `/health` takes by design.
const REPORT_DEADLINE: Duration = Duration::from_secs(45);

#[tokio::test]
async fn health_while_nobody_leads_is_503_with_the_reason() {
    let mut world = World::start(2).await;
    world.leader().await;
    // As when the broker lost the stream's leader for good, or can't store: no lease can be acquired or renewed.
    world.nats.main().await.jetstream().delete_stream("KV_LEADER").await.unwrap();
    for replica in 0..2 {
        let client = world.client(replica);
        let health = wait_until("the replica reports that nobody leads", REPORT_DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 503 { Ok(health.body) } else { Err(health.body) }
        })
        .await;
        assert_eq!((&health["status"], &health["down"]), (&json!("unavailable"), &json!(["leader"])), "{health}");
        assert!(health["problems"][0].as_str().is_some_and(|text| text.starts_with("nobody leads: ")), "{health}");
        assert_eq!((&health["broker"], &health["database"]), (&json!("up"), &json!("up")), "{health}");
        let log = std::fs::read_to_string(&world.replicas[replica].log).unwrap();
        assert_eq!(log.matches("nobody leads: no server renews").count(), 1, "{log}");
    }
    // A server that starts creates the stream again.
    world.restart_replica(0).await;
    for replica in 0..2 {
        let client = world.client(replica);
        wait_until("a replica leads again", REPORT_DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(health.body) }
        })
        .await;
    }
}
