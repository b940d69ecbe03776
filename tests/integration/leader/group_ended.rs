//! The end of a group.

use std::time::Duration;

use dockhost::broker::streams::EVENTS;
use dockhost::common::clock;
use dockhost_domain::timestamp::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{INSTANCE, wait_for};
use crate::harness::http::{Answer, Client};
use crate::harness::log::stored;
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, Topology, World, wait_until};

const GROUPS: &str = "/api/v2/admin/groups";
/// What the requirement allows between the end and the stop.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

async fn put_into(admin: &Client, user: &Client, group: &Value) {
    let id = user.get("/api/v2/user/me").await.data()["id"].as_str().unwrap().to_owned();
    let put = admin.put(&format!("/api/v2/admin/users/{id}/group"), json!({ "groupId": group })).await;
    assert_eq!(put.status, 200, "{put:?}");
}

async fn resume(user: &Client, instance: &Answer) -> Answer {
    user.put(&format!("{INSTANCE}/resume"), json!({ "instanceId": instance.data()["instanceId"] })).await
}

/// The stops for the end of a group, as the instance and the broker's time of the event.
async fn stops(world: &World) -> Vec<(String, Timestamp)> {
    let stream = world.nats.main().await.jetstream().get_stream(EVENTS).await.unwrap();
    let mut stops = Vec::new();
    for event in stored(&world.nats).await.iter().filter(|event| event.body.contains("group-ended")) {
        let body: Value = serde_json::from_str(&event.body).unwrap();
        let time = stream.get_raw_message(event.sequence).await.unwrap().time;
        let millis = i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap();
        stops.push((body["instanceId"].as_str().unwrap().to_owned(), Timestamp::from_millis(millis)));
    }
    stops
}

/// The leader that began the stops dies while they are under way.
#[tokio::test]
async fn group_that_ends_has_its_members_instances_stopped_once_also_by_a_new_leader() {
    let mut world = World::on(Topology::ONE, 2, &ADMIN).await;
    let agent = world.add_agent("alpha", 9).await;
    let (admin, ada, eve) = (world.admin().await, world.user("ada").await, world.user("eve").await);
    let (one, other, of_eve) = (ada.create().await, ada.create().await, eve.create().await);
    for created in [&one, &other, &of_eve] {
        assert_eq!(created.status, 201, "{created:?}");
    }
    let ends_at = clock::now().after(Duration::from_secs(4));
    let group = admin.post(GROUPS, json!({ "name": "Biology 7b", "endsAt": ends_at })).await.data()["id"].clone();
    put_into(&admin, &ada, &group).await;
    // The instances can't stop yet.
    world.kill_agent(agent).await;
    wait_until("both stops are requested", DEADLINE, async || {
        let stops = stops(&world).await;
        if stops.len() == 2 { Ok(()) } else { Err(format!("{stops:?}")) }
    })
    .await;
    let leader = world.leader().await;
    world.kill_replica(leader).await;
    let [admin, ada, eve] = [admin, ada, eve].map(|client| client.at(&world.replicas[1 - leader].url));
    world.leader_but(Some(leader)).await;
    world.start_agent(agent, &[]);
    for created in [&one, &other] {
        let stopped = wait_for(&ada, created, "stopped").await;
        assert_eq!(stopped["stopReason"], "stopped because the group of its owner has ended", "{stopped}");
    }
    assert_eq!((resume(&ada, &one).await.code(), ada.create().await.code()), ("group_ended", "group_ended"));

    // What an administrator resumes goes on, while the next member's instance is stopped.
    let path = format!("/api/v2/admin/instances/{}/resume", one.data()["instanceId"].as_str().unwrap());
    let resumed = admin.post(&path, json!({})).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    put_into(&admin, &eve, &group).await;
    wait_for(&eve, &of_eve, "stopped").await;
    wait_for(&ada, &one, "running").await;
    let stops = stops(&world).await;
    let mut stopped: Vec<_> = stops.iter().map(|(instance, _)| instance.as_str()).collect();
    let mut expected: Vec<_> = [&one, &other, &of_eve].map(|one| one.data()["instanceId"].as_str().unwrap()).to_vec();
    stopped.sort_unstable();
    expected.sort_unstable();
    assert_eq!(stopped, expected, "each once");
    for (_, at) in &stops[..2] {
        assert!(*at >= ends_at && at.since(ends_at) < STOPS_WITHIN, "{at} is not soon after {ends_at}");
    }

    let members = admin.get(&format!("/api/v2/admin/instances?group={}&status=stopped", group.as_str().unwrap())).await;
    assert_eq!(members.data()["items"].as_array().map(Vec::len), Some(2), "{members:?}");
    let path = format!("{GROUPS}/{}", group.as_str().unwrap());
    let changed = admin.json(Method::PATCH, &path, &[], json!({ "endsAt": null })).await;
    assert_eq!((changed.status, &changed.data()["endsAt"]), (200, &Value::Null), "{changed:?}");
    let resumed = resume(&ada, &other).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    world.check_log().await;
    world.verify().await;
}
