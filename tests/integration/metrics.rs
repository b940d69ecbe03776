//! The metrics of a running server, as Prometheus reads them.

use serde_json::json;

use crate::harness::topology::Topology;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// Where the metrics of a replica are, by its log.
fn url(world: &World) -> String {
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    let line = log.lines().find_map(|line| line.split_once("the metrics are at ")).expect("no address in the log");
    line.1.split_whitespace().next().unwrap().to_owned()
}

async fn read(url: &str) -> String {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[tokio::test]
async fn metrics_on_their_own_address_show_what_the_server_does() {
    let mut world = World::with(1, &[("DOCKHOST_METRICS_ADDRESS", "127.0.0.1:0")]).await;
    let url = url(&world);
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    let which = json!({ "instanceId": created.data()["instanceId"] });
    assert_eq!(ada.delete("/api/v2/user/instance", which).await.status, 200);
    assert_eq!(world.client(0).get("/metrics").await.code(), "not_found", "there is no token for it");
    assert_eq!(reqwest::get(url.replace("/metrics", "/health")).await.unwrap().status(), 404);

    let text = read(&url).await;
    for (sample, expected) in [
        ("dockhost_ready", 1.0),
        ("dockhost_backends{state=\"connected\"}", 1.0),
        ("dockhost_instance_events_total{event=\"requested\"}", 1.0),
        ("dockhost_instance_events_total{event=\"deleted\"}", 1.0),
        ("dockhost_instance_operations_total{kind=\"create\"}", 1.0),
        ("dockhost_instance_operations_total{kind=\"delete\"}", 1.0),
        ("dockhost_http_requests_total{method=\"POST\",route=\"/api/v2/user/instance\",status=\"201\"}", 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample}: {text}");
    }
    for sample in ["dockhost_log_append_duration_seconds_count", "dockhost_memory_limit_bytes"] {
        assert!(value(&text, sample) > Some(0.0), "{sample}: {text}");
    }
    assert!(!text.contains("ada"), "{text}");
    world.check_log().await;
}

#[tokio::test]
async fn metrics_count_live_sessions_and_instances_in_the_read_models() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    world.verify().await;
    world.set("DOCKHOST_METRICS_ADDRESS", "127.0.0.1:0");
    world.restart_replica(0).await;
    let url = url(&world);
    let sessions = async || value(&read(&url).await, "dockhost_sessions");
    wait_until("the totals are read", DEADLINE, async || {
        let text = read(&url).await;
        let found = value(&text, "dockhost_instances{status=\"running\"}");
        if found == Some(1.0) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    // Those of ada and of the backend.
    let before = sessions().await.unwrap();
    let eve = world.user("eve").await;
    for (change, expected) in [("signed in", before + 1.0), ("signed out", before)] {
        wait_until(&format!("the session of a user who {change} counts"), 2 * DEADLINE, async || {
            match sessions().await {
                Some(found) if found == expected => Ok(()),
                other => Err(format!("{other:?}, not {expected}")),
            }
        })
        .await;
        assert_eq!(
            eve.post("/api/v2/user/signout", json!({})).await.status,
            if change == "signed in" { 200 } else { 401 }
        );
    }
}

/// Without the database nothing is folded.
#[tokio::test]
async fn metrics_show_how_long_a_read_model_is_behind() {
    let settings = [("DOCKHOST_METRICS_ADDRESS", "127.0.0.1:0")];
    let mut world = World::on(Topology::ONE.with_own_database(), 1, &settings).await;
    let url = url(&world);
    world.user("ada").await;
    let behind = "dockhost_projection_lag_seconds{model=\"users\"}";
    wait_until("the read model has everything", DEADLINE, async || {
        let text = read(&url).await;
        if value(&text, behind) == Some(0.0) { Ok(()) } else { Err(text) }
    })
    .await;
    world.mongods.as_mut().unwrap().kill(0).await;
    assert_eq!(world.client(0).sign_up("eve").await.status, 201);
    wait_until("the age of the missing event grows", DEADLINE, async || {
        let text = read(&url).await;
        let events = value(&text, "dockhost_projection_lag_events{model=\"users\"}");
        let is_down = value(&text, "dockhost_down{part=\"database\"}") == Some(1.0);
        if value(&text, behind) >= Some(2.0) && events >= Some(1.0) && is_down { Ok(()) } else { Err(text) }
    })
    .await;
    world.mongods.as_mut().unwrap().restart(0).await;
    wait_until("the read model has everything again", 3 * DEADLINE, async || {
        let text = read(&url).await;
        if value(&text, behind) == Some(0.0) { Ok(()) } else { Err(text) }
    })
    .await;
}
