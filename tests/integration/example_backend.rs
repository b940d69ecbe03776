//! The backend in Python, `examples/backend/`, against real servers: an author can start from it.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, World, target_tmp, wait_until};

/// Starts the example as the agent of a registered backend, with simulated containers.
fn start(world: &mut World, agent: usize) {
    let installed = target_tmp().parent().unwrap().join("tools/nats-py");
    assert!(installed.join("nats").is_dir(), "nats-py is not installed: run `make tools` or `make test`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backend/backend.py");
    let state = world.data.path().join("example");
    let env = vec![
        ("ADDRESS", "127.0.0.1".to_owned()),
        ("MAX_CONTAINERS", "3".to_owned()),
        ("PYTHONPATH", installed.display().to_string()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("STATE_DIR", state.display().to_string()),
    ];
    world.start_program(agent, "example", "python3".into(), vec![script.into(), "simulated".into()], env);
}

async fn wait_for_status(ada: &Client, name: &str, status: &str) {
    wait_until(&format!("{name} is {status}"), DEADLINE, async || {
        let found = ada.get(&format!("/api/v2/user/instance/{name}")).await.data().clone();
        if found["status"] == status { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn example_backend_carries_out_what_people_want() {
    let mut world = World::start(1).await;
    let agent = world.register("alpha", 10).await;
    start(&mut world, agent);
    world.wait_for_backend("alpha", "connected").await;
    let ada = world.user("ada").await;

    let web = ada.post("/api/v2/user/instance", json!({ "name": "web" })).await;
    assert_eq!((web.status, &web.data()["status"]), (201, &json!("running")), "{web:?}");
    for (method, status) in [("stop", "stopped"), ("resume", "running")] {
        let changed = ada.put(&format!("/api/v2/user/instance/{method}"), json!({ "instanceId": "web" })).await;
        assert_eq!((changed.status, &changed.data()["status"]), (200, &json!(status)), "{changed:?}");
    }
    // It refuses what is beyond its own limit, although the server would place more there.
    for name in ["db", "cache"] {
        let created = ada.post("/api/v2/user/instance", json!({ "name": name })).await;
        assert_eq!(created.status, 201, "{created:?}");
    }
    let refused = ada.post("/api/v2/user/instance", json!({ "name": "more" })).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let deleted = ada.delete("/api/v2/user/instance", json!({ "instanceId": "db" })).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");

    // A restart in order: the next run is accepted at once, and reports what it finds.
    world.stop_agent(agent).await;
    wait_until("the backend is lost", DEADLINE, async || {
        let found = ada.get("/api/v2/user/instance/web").await.data().clone();
        if found["status"] == "unreachable" { Ok(()) } else { Err(found) }
    })
    .await;
    let stop = [("prefer", "respond-async")];
    let stop = ada.json(Method::PUT, "/api/v2/user/instance/stop", &stop, json!({ "instanceId": "cache" })).await;
    assert_eq!(stop.status, 202, "{stop:?}");
    start(&mut world, agent);
    world.wait_for_backend("alpha", "connected").await;
    wait_for_status(&ada, "web", "running").await;
    wait_for_status(&ada, "cache", "stopped").await;

    // The containers are gone with the machine's disk: nothing is made in their place.
    world.kill_agent(agent).await;
    std::fs::remove_file(world.data.path().join("example/containers.json")).unwrap();
    start(&mut world, agent);
    wait_for_status(&ada, "web", "failed").await;
    let web = ada.get("/api/v2/user/instance/web").await.data().clone();
    assert!(web["failure"].to_string().contains("does not exist"), "{web}");
    world.check_log().await;
}

/// The broker closes connections after some minutes, and when it is restarted.
#[tokio::test]
async fn example_backend_connects_again_and_takes_a_new_key() {
    let mut world = World::with(1, &ADMIN).await;
    let agent = world.register("alpha", 10).await;
    start(&mut world, agent);
    world.wait_for_backend("alpha", "connected").await;
    let (ada, admin) = (world.user("ada").await, world.admin().await);
    world.nats.kill().await;
    world.wait_for_agent_log(agent, "disconnected:", 1).await;
    world.nats.restart().await;
    wait_until("an instance can be created", DEADLINE, async || match ada.create().await {
        created if created.status == 201 => Ok(()),
        refused => Err(format!("{refused:?}")),
    })
    .await;

    let backends = admin.get("/api/v2/admin/backends").await;
    let id = backends.data()["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{backends:?}"));
    let rotated = admin.post(&format!("/api/v2/admin/backends/{id}/rotate"), json!({})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let stored = world.data.path().join("example/key");
    wait_until("the new key is stored", DEADLINE, async || match std::fs::read_to_string(&stored) {
        Ok(key) if key.split('.').count() == 3 && key != world.agents[agent].key => Ok(()),
        other => Err(format!("{other:?}\n{}", world.agent_log(agent))),
    })
    .await;
}
