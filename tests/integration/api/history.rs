//! What happened to an instance, over the API: each answer of a life again, by its position.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::http::{Answer, Client};

const INSTANCE: &str = "/api/v2/user/instance";

/// Asks for the instance, at a replica that has what the answer before had.
async fn record(client: &Client, path: &str, after: &Answer, recorded: &mut Vec<(String, Answer)>) {
    let position = after.header("dockhost-position").unwrap_or_else(|| panic!("{after:?}")).to_owned();
    let shown = client.send(Method::GET, path, &[("dockhost-position", &position)], None).await;
    let position = shown.header("dockhost-position").map_or(position, str::to_owned);
    recorded.push((position, shown));
}

#[tokio::test]
async fn instance_at_each_recorded_position_is_what_was_answered_then() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.data()["instanceId"].as_str().unwrap().to_owned();
    let (path, which) = (format!("{INSTANCE}/{id}"), json!({ "instanceId": id }));
    let mut recorded = Vec::new();
    record(&ada, &path, &created, &mut recorded).await;
    for round in 0..3 {
        let stopped = ada.put(&format!("{INSTANCE}/stop"), which.clone()).await;
        assert_eq!((stopped.status, &stopped.data()["status"]), (200, &json!("stopped")), "round {round}");
        record(&ada, &path, &stopped, &mut recorded).await;
        let resumed = ada.put(&format!("{INSTANCE}/resume"), which.clone()).await;
        assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "round {round}");
        record(&ada, &path, &resumed, &mut recorded).await;
    }
    let deleted = ada.delete(INSTANCE, which).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    record(&ada, &path, &deleted, &mut recorded).await;

    // On the other replica, from the log.
    let other = ada.at(&world.replicas[1].url);
    for (position, then) in &recorded {
        let past = other.get(&format!("{path}?at={position}")).await;
        assert_eq!((past.status, past.data()), (then.status, then.data()), "at {position}");
    }

    let history = other.get(&format!("{path}/history?limit=200")).await;
    let steps = history.data()["items"].as_array().unwrap_or_else(|| panic!("{history:?}"));
    let of_type = |name: &str| steps.iter().filter(|step| step["type"] == name).collect::<Vec<_>>();
    let stops = of_type("dockhost.instance.stop-requested.v1");
    assert_eq!((stops.len(), of_type("dockhost.instance.resume-requested.v1").len()), (3, 3));
    assert!(stops.iter().all(|step| step["actor"]["kind"] == "user" && step["requestId"].is_string()), "{stops:?}");
    let last = steps.last().unwrap();
    assert_eq!(last["type"], "dockhost.instance.deleted.v1");
    let status = last["changes"].as_array().unwrap().iter().find(|change| change["member"] == "status");
    assert_eq!(
        status.map(|change: &Value| (&change["before"], &change["after"])),
        Some((&json!("deleting"), &json!("deleted")))
    );
    world.check_log().await;
}
