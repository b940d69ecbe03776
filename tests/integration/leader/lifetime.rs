//! The stop of an instance at the end of its time to live.

use std::time::Duration;

use dockhost::broker::streams::EVENTS;
use dockhost::common::clock;
use dockhost::event_log::{Append, EventLog, Filter};
use dockhost_domain::account::{Account, AccountEvent, GroupChanged};
use dockhost_domain::aggregate::{Aggregate, Meta};
use dockhost_domain::envelope::{Actor, Envelope, Origin};
use dockhost_domain::event::Event;
use dockhost_domain::group::{Group, GroupSet, Groups, GroupsEvent};
use dockhost_domain::ids::{EventId, GroupId};
use dockhost_domain::subject::{AggregateId, AllGroups};
use dockhost_domain::timestamp::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::{INSTANCE, wait_for};
use crate::harness::http::{Answer, Client};
use crate::harness::log::stored;
use crate::harness::seed::PASSWORD;
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, Seed, Topology, World, wait_until};

const EXPLAINED: &str = "stopped because its time to live is over";
/// What the requirement allows between the end and the stop.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

async fn create(user: &Client, body: &Value) -> Answer {
    user.json(Method::POST, INSTANCE, &[("idempotency-key", "only-one")], body.clone()).await
}

async fn resume(user: &Client, instance: &Value) -> Answer {
    user.put(&format!("{INSTANCE}/resume"), json!({ "instanceId": instance })).await
}

/// The broker's times of the stops for the time to live.
async fn stops(world: &World) -> Vec<Timestamp> {
    let stream = world.nats.main().await.jetstream().get_stream(EVENTS).await.unwrap();
    let mut stops = Vec::new();
    for event in stored(&world.nats).await.iter().filter(|event| event.body.contains("\"time-to-live\"")) {
        let time = stream.get_raw_message(event.sequence).await.unwrap().time;
        stops.push(Timestamp::from_millis(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap()));
    }
    stops
}

/// The leader dies before the end.
#[tokio::test]
async fn instance_whose_time_to_live_ends_is_stopped_once_and_resumed_when_it_is_extended() {
    let mut world = World::on(Topology::ONE, 2, &[]).await;
    world.add_agent("alpha", 9).await;
    let ada = world.user("ada").await;
    let expires_at = clock::now().after(Duration::from_secs(6));
    let request = json!({ "name": "web", "expiresAt": expires_at });
    let created = create(&ada, &request).await;
    assert_eq!((created.status, &created.data()["expiresAt"]), (201, &json!(expires_at)), "{created:?}");
    let cause = json!({
        "reason": "timeToLive", "movedBy": "created", "movedAt": created.data()["createdAt"],
    });
    let mut stops_at = cause.clone();
    stops_at["at"] = json!(expires_at);
    assert_eq!(created.data()["stopsAt"], stops_at);
    let other = ada.create().await;
    assert_eq!(other.status, 201, "{other:?}");
    let leader = world.leader().await;
    world.kill_replica(leader).await;
    let ada = ada.at(&world.replicas[1 - leader].url);
    let stopped = wait_for(&ada, &created, "stopped").await;
    let shown = (&stopped["stopReason"], &stopped["stopCause"], &stopped["stopsAt"]);
    assert_eq!(shown, (&json!(EXPLAINED), &cause, &Value::Null), "{stopped}");
    let history = ada.get(&format!("{INSTANCE}/web/history")).await;
    let steps = history.data()["items"].as_array().unwrap();
    let reasons: Vec<_> = steps
        .iter()
        .flat_map(|step| step["changes"].as_array().unwrap())
        .filter(|change| change["member"] == "stopCause")
        .collect();
    assert_eq!(reasons, [&json!({ "member": "stopCause", "before": null, "after": cause })], "{history:?}");

    let (id, refused) = (&created.data()["instanceId"], "instance_expired");
    assert_eq!(resume(&ada, id).await.code(), refused);
    let again = create(&ada, &request).await;
    assert_eq!((again.status, &again.data()["instanceId"]), (201, id), "a repetition has its first answer: {again:?}");
    let extended = ada.json(Method::PATCH, &format!("{INSTANCE}/web"), &[], json!({ "expiresAt": null })).await;
    assert_eq!(extended.status, 200, "{extended:?}");
    let resumed = resume(&ada, id).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    assert_eq!(resumed.data()["stopCause"], Value::Null);
    wait_for(&ada, &other, "running").await;
    let stops = stops(&world).await;
    assert_eq!(stops.len(), 1, "once");
    assert!(
        stops[0] >= expires_at && stops[0].since(expires_at) < STOPS_WITHIN,
        "{} is not soon after {expires_at}",
        stops[0]
    );
    world.check_log().await;
    world.verify().await;
}

/// Appends an event of this time to an aggregate.
pub(super) async fn append(log: &dyn EventLog, aggregate: AggregateId, time: Timestamp, event: Event) {
    let expected = log.end(Filter::One(aggregate)).await.unwrap();
    let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time };
    let origin = Origin::new(Actor::System, "request:seed");
    log.append(Append { expected, envelope: Envelope { aggregate, meta, origin, event } }).await.unwrap();
}

/// The instances of the first one are older than the group allows.
#[tokio::test]
async fn instances_older_than_their_owners_group_allows_are_stopped_and_those_of_others_are_not() {
    let mut nats = Nats::start_unsynced().await;
    let ago = Duration::from_secs(2 * 24 * 60 * 60);
    let mut seed = Seed::open(&nats, ago, Duration::from_secs(60)).await;
    seed.machines(1, 10).await;
    let (member, other) = (seed.busy_person(2).await, seed.busy_person(2).await);
    let group_id = GroupId::from_uuid(clock::fresh_uuid());
    let old = Timestamp::from_millis(clock::now().millis() - 24 * 60 * 60 * 1000);
    let group = Group {
        name: "Biology 7b".parse().unwrap(),
        max_instances: None,
        max_cpu_millis: None,
        max_memory_mib: None,
        ends_at: None,
        time_to_live_minutes: Some(60_u32.try_into().unwrap()),
        autostop_minutes: None,
    };
    let created = GroupsEvent::Created(GroupSet { group_id, group });
    append(seed.log(), Groups::subject(AllGroups), old, created.into()).await;
    let joined = AccountEvent::GroupChanged(GroupChanged { group_id: Some(group_id) });
    append(seed.log(), Account::subject(member.id), old, joined.into()).await;
    nats.reopen().await;
    let world = World::upon(nats, 1, &[]).await;
    let sign_in = async |name: &str| {
        let answer =
            world.client(0).post("/api/v2/user/signin", json!({ "username": name, "password": PASSWORD })).await;
        world.client(0).with_token(answer.data()["accessToken"].as_str().unwrap())
    };
    let (of_member, of_other) = (sign_in(member.name.as_str()).await, sign_in(other.name.as_str()).await);
    let path = format!("{INSTANCE}/{}", member.instances[0]);
    let shown = wait_until("the member's instance is stopped", DEADLINE, async || {
        let answer = of_member.get(&path).await;
        if answer.data()["stopReason"] == EXPLAINED { Ok(answer.data().clone()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!((&shown["stopCause"]["movedBy"], &shown["stopCause"]["movedAt"]), (&json!("groupJoined"), &json!(old)));
    assert_eq!(resume(&of_member, &json!(member.instances[0])).await.code(), "instance_expired");
    let other = of_other.get(&format!("{INSTANCE}/{}", other.instances[0])).await;
    assert_eq!((&other.data()["stopReason"], &other.data()["stopsAt"]), (&Value::Null, &Value::Null), "{other:?}");
}
