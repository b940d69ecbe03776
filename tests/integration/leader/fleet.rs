//! What administrators do with a machine: revoke its key, issue another, remove it from the fleet.

use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{Client as NatsClient, ConnectOptions};
use dockhost::common::error::Cause;
use dockhost::execute::Executor;
use dockhost_domain::aggregate::Command;
use dockhost_domain::backend::{Backend, ChangeCordon, IssueKey, RemoveBackend, RevokeKey};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::BackendId;
use serde_json::json;

use super::{INSTANCE, id_of, wait_for};
use crate::harness::http::Answer;
use crate::harness::topology::{Members, Nodes, Topology};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, run, wait_until};

pub(super) async fn execute<C: Command<Aggregate = Backend> + Clone + 'static>(
    world: &World,
    backend: BackendId,
    command: C,
) {
    let executor = Executor::new(Arc::new(world.nats.log().await));
    let origin = Origin::new(Actor::System, "test");
    executor.execute(backend, origin, command).await.unwrap();
}

/// A connection with an API key to one address of the broker, which does not try again.
pub(super) async fn connect(url: String, key: &str, id: BackendId) -> Result<NatsClient, Cause> {
    let options = ConnectOptions::with_token(key.to_owned()).custom_inbox_prefix(format!("_INBOX.{id}"));
    Ok(options.max_reconnects(1).connect(url).await?)
}

async fn wait_for_containers(world: &World, agent: usize, count: usize) {
    wait_until(&format!("{} has {count} containers", world.agents[agent].name), DEADLINE, async || {
        let containers = world.containers(agent);
        if containers.now.len() == count { Ok(()) } else { Err(format!("{containers:?}\n{}", world.agent_log(agent))) }
    })
    .await;
}

#[tokio::test]
async fn revoked_key_is_cut_off_on_every_node_and_another_key_is_accepted() {
    let topology = Topology { broker: Nodes::Three, database: Members::Shared, proxied: false };
    let mut world = World::on(topology, 2, &[]).await;
    let agent = world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let (id, key) = (id_of(&world, "alpha").await, world.agents[agent].key.clone());
    let mut connections = Vec::new();
    for node in 0..3 {
        connections.push(connect(world.nats.url_of(node), &key, id).await.unwrap());
    }

    execute(&world, id, RevokeKey).await;
    wait_until("all connections with the key are closed", DEADLINE, async || {
        let states: Vec<_> = connections.iter().map(NatsClient::connection_state).collect();
        if states.contains(&State::Connected) { Err(format!("{states:?}")) } else { Ok(()) }
    })
    .await;
    for node in 0..3 {
        assert!(connect(world.nats.url_of(node), &key, id).await.is_err(), "node {node} accepts the revoked key");
    }
    let refused = user.create().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let sign_in = json!({ "username": "alpha", "password": "a long password" });
    let answer = world.client(1).post("/api/v2/backend/signin", sign_in.clone()).await;
    assert_eq!((answer.status, answer.code()), (403, "key_revoked"), "{answer:?}");

    // The machine goes on with another key; its containers are as they were.
    execute(&world, id, IssueKey::default()).await;
    let answer = world.client(1).post("/api/v2/backend/signin", sign_in).await;
    world.kill_agent(agent).await;
    world.agents[agent].key = answer.data()["DOCKHOST_API_KEY"].as_str().unwrap().to_owned();
    world.start_agent(agent, &[]);
    // At the latest when the machine counts as lost: until then its former agent may come back.
    wait_until("the machine takes instances again", 2 * DEADLINE, async || match user.create().await {
        Answer { status: 201, .. } => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(connect(world.nats.url(), &key, id).await.is_err(), "the old key stays invalid");
    wait_for(&user, &created, "running").await;
    wait_for_containers(&world, agent, 2).await;
}

#[tokio::test]
async fn removed_backend_that_is_away_leaves_no_instance_and_cleans_up_when_it_returns() {
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 5).await;
    let user = world.user("ada").await;
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let (id, key) = (id_of(&world, "alpha").await, world.agents[agent].key.clone());
    world.kill_agent(agent).await;

    execute(&world, id, RemoveBackend { force: true }).await;
    let failed = wait_for(&user, &created, "failed").await;
    assert_eq!(failed["failure"][0]["reason"], "was removed by an administrator", "{failed}");
    let instance = json!({ "instanceId": created.data()["instanceId"] });
    let resume = user.put(&format!("{INSTANCE}/resume"), instance.clone()).await;
    assert_eq!((resume.status, resume.code()), (409, "instance_failed"), "{resume:?}");
    let health = world.client(0).get("/health").await;
    assert_eq!(health.body["fleet"]["registered"], 0, "{health:?}");
    assert_eq!(user.delete(INSTANCE, instance).await.status, 200);
    assert_eq!(world.containers(agent).now.len(), 1);

    world.start_agent(agent, &[]);
    wait_for_containers(&world, agent, 0).await;
    wait_until("the key is refused, because nothing is left to remove", DEADLINE, async || {
        match connect(world.nats.url(), &key, id).await {
            Ok(_) => Err("it is accepted"),
            Err(_) => Ok(()),
        }
    })
    .await;
    world.verify().await;
    world.check_log().await;
}

#[tokio::test]
async fn removed_backend_that_is_connected_removes_its_containers_at_once() {
    let mut world = World::start(1).await;
    let (agent, user) = (world.add_agent("alpha", 5).await, world.user("ada").await);
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = id_of(&world, "alpha").await;
    execute(&world, id, ChangeCordon { cordoned: true }).await;
    execute(&world, id, RemoveBackend { force: false }).await;
    wait_for(&user, &created, "failed").await;
    wait_for_containers(&world, agent, 0).await;
    let refused = user.create().await;
    assert_eq!((refused.status, refused.code()), (503, "no_backend"), "{refused:?}");
    assert_eq!(refused.body["error"]["details"], json!({ "backends": 0, "reasons": {} }));
}

/// The walk of an administrator at the command line: approve, cordon, remove.
#[tokio::test]
async fn pending_backend_gets_instances_when_an_administrator_approves_it() {
    let settings = [
        ("DOCKHOST_ENROLMENT", "approval"),
        ("DOCKHOST_ADMIN_USERNAME", "boss"),
        ("DOCKHOST_ADMIN_PASSWORD", "battery staple"),
    ];
    let mut world = World::with(1, &settings).await;
    let sign_in = json!({ "username": "boss", "password": "battery staple" });
    let boss = world.client(0).post("/api/v2/user/signin", sign_in).await;
    let token = boss.data()["accessToken"].as_str().unwrap().to_owned();
    let env = [("DOCKHOST_URL", world.replicas[0].url.clone()), ("DOCKHOST_TOKEN", token)];
    let (user, agent) = (world.user("ada").await, world.register("alpha", 5).await);
    world.start_agent(agent, &[]);
    let backend = world.backend("alpha").await;
    wait_until("the pending backend is heard", DEADLINE, async || {
        let answer = backend.get("/api/v2/backend").await;
        let shown = (&answer.data()["status"], answer.data()["lastSeen"].is_string());
        if shown == (&json!("pending"), true) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    wait_until("its log says once that it awaits approval", DEADLINE, async || {
        let log = world.agent_log(agent);
        if log.matches("awaits approval").count() == 1 { Ok(()) } else { Err(log) }
    })
    .await;
    let refused = user.create().await;
    assert_eq!((refused.status, refused.code()), (503, "no_backend"), "{refused:?}");

    let data = world.data.path().to_owned();
    let admin = async |args: &[&str]| {
        let done = run(&data, &[&["admin", "backends"], args].concat(), &env).await;
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
    };
    admin(&["approve", "alpha", "--max-containers", "1"]).await;
    let created = user.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    let full = user.create().await;
    assert_eq!((full.status, full.code()), (503, "no_capacity"), "{full:?}");
    admin(&["capacity", "alpha", "2"]).await;
    admin(&["cordon", "alpha"]).await;
    let refused = user.create().await;
    assert_eq!(refused.body["error"]["details"]["reasons"], json!({ "cordoned": 1 }), "{refused:?}");
    admin(&["remove", "alpha", "--yes"]).await;
    wait_for(&user, &created, "failed").await;
    wait_for_containers(&world, agent, 0).await;
    world.verify().await;
    world.check_log().await;
}
