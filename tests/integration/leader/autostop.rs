//! The stop of instances to which nobody is connected.
//!
//! The test is the agent: it says what it has seen of the connections. The instances and their settings are older than the autostop.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::ConnectOptions;
use dockhost::common::clock;
use dockhost_domain::aggregate::Aggregate;
use dockhost_domain::ids::{AgentRunId, BackendId, InstanceId};
use dockhost_domain::reported::{BackendAddress, ShortText};
use dockhost_domain::subject::Channel;
use dockhost_domain::tenancy::event::{OnLost, SettingsChanged, TenancyEvent};
use dockhost_domain::tenancy::{Lifetime, Tenancy};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Heartbeat, Hello, MachineStatus, SshWatch, SshWatches};
use serde_json::{Value, json};

use super::INSTANCE;
use super::lifetime::append;
use crate::harness::http::Client;
use crate::harness::log::stored;
use crate::harness::seed::{PASSWORD, Person};
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, Nats, Seed, World, wait_until};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY_SECONDS: u32 = 24 * 60 * 60;

/// Sends heartbeats of the backend with these watches, until the test ends.
async fn beat(world: &World, admin: &Client, backend: BackendId, watches: SshWatches) {
    let issued = admin.post(&format!("/api/v2/admin/backends/{backend}/key"), json!({})).await;
    let key = issued.data()["DOCKHOST_API_KEY"].as_str().unwrap().to_owned();
    let options = ConnectOptions::with_token(key).custom_inbox_prefix(format!("_INBOX.{backend}"));
    let client = options.connect(world.nats.url()).await.unwrap();
    let run = AgentRunId::from_uuid(clock::fresh_uuid());
    let hello = Hello { agent_version: ShortText::cleaned("test"), agent_run: Some(run), key_digest: None };
    let hello = serde_json::to_vec(&hello).unwrap();
    client.request(Channel::Hello(backend).to_string(), hello.into()).await.unwrap();
    let heartbeat = Heartbeat {
        address: BackendAddress::localhost(),
        containers: 3,
        max_containers: 10,
        runtime: ShortText::cleaned("simulated"),
        agent_version: ShortText::cleaned("test"),
        load: 0.1,
        memory: 0.1,
        at: clock::now(),
        agent_run: Some(run),
        leaving: false,
        size: None,
        ssh_connections: Some(watches),
        machine: MachineStatus::default(),
    };
    let body = serde_json::to_vec(&heartbeat).unwrap();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(2));
        loop {
            ticks.tick().await;
            client.publish(Channel::Heartbeat(backend).to_string(), body.clone().into()).await.unwrap();
        }
    });
}

#[tokio::test]
async fn instance_to_which_nobody_is_connected_is_stopped_and_others_are_not() {
    let mut nats = Nats::start_unsynced().await;
    let mut seed = Seed::open(&nats, 48 * HOUR, HOUR / 60).await;
    let machine = seed.machines(1, 10).await[0];
    let [quiet, connected, unseen] = [seed.busy_person(2).await, seed.busy_person(2).await, seed.busy_person(2).await];
    let set_at = Timestamp::from_millis((clock::now().millis() / 1000 - i64::from(DAY_SECONDS)) * 1000);
    for person in [&quiet, &connected, &unseen] {
        let lifetime = Lifetime { expires_at: None, autostop_minutes: Some(60_u32.try_into().unwrap()) };
        let (instance_id, on_lost) = (person.instances[0], OnLost::Wait);
        let settings = SettingsChanged { instance_id, on_lost, lifetime, name: None, by_administrator: None };
        let event = TenancyEvent::SettingsChanged(settings);
        append(seed.log(), Tenancy::subject(person.id), set_at, event.into()).await;
    }
    nats.reopen().await;
    let world = World::upon(nats, 1, &ADMIN).await;
    let admin = world.admin().await;
    let watch = |person: &Person, connected_seconds_ago| SshWatch {
        instance_id: person.instances[0],
        watched_seconds: DAY_SECONDS,
        connected_seconds_ago,
    };
    let watches = SshWatches::of([watch(&quiet, Some(2 * 60 * 60)), watch(&connected, Some(0))]);
    let began = clock::now();
    beat(&world, &admin, machine, watches).await;

    let mut users = BTreeMap::new();
    for person in [&quiet, &connected, &unseen] {
        let body = json!({ "username": person.name, "password": PASSWORD });
        let answer = world.client(0).post("/api/v2/user/signin", body).await;
        users.insert(person.instances[0], world.client(0).with_token(answer.data()["accessToken"].as_str().unwrap()));
    }
    let shown = async |id: InstanceId| users[&id].get(&format!("{INSTANCE}/{id}")).await.data().clone();
    let stopped = wait_until("the instance that nobody uses is stopped", DEADLINE, async || {
        let instance = shown(quiet.instances[0]).await;
        if instance["stopCause"].is_null() { Err(instance) } else { Ok(instance) }
    })
    .await;
    let cause = &stopped["stopCause"];
    assert_eq!((&cause["reason"], &cause["movedBy"]), (&json!("autostop"), &json!("activity")), "{stopped}");
    let reason = "stopped because nobody was connected to it for the time of its autostop";
    assert_eq!((&stopped["stopReason"], &stopped["stopsAt"]), (&json!(reason), &Value::Null), "{stopped}");

    let used = wait_until("the activity is recorded", DEADLINE, async || {
        let instance = shown(connected.instances[0]).await;
        if instance["stopsAt"]["movedBy"] == "activity" { Ok(instance) } else { Err(instance) }
    })
    .await;
    let last: Timestamp = used["lastActivity"].as_str().unwrap().parse().unwrap();
    assert!(last >= began, "{used}");
    assert_eq!(used["stopsAt"]["at"], json!(last.after(HOUR)), "{used}");
    let other = shown(unseen.instances[0]).await;
    let set = json!({ "at": set_at.after(HOUR), "reason": "autostop", "movedBy": "changed", "movedAt": set_at });
    assert_eq!((&other["stopReason"], &other["stopsAt"]), (&Value::Null, &set), "{other}");
    // At most one in a quarter of the period.
    let activities = stored(&world.nats).await.iter().filter(|event| event.kind.contains("instance.activity")).count();
    assert!(activities <= 2, "{activities}");
    world.verify().await;
}
