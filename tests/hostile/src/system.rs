//! The system under attack.

use dockhost_harness::World;
use futures::TryStreamExt;
use serde_json::Value;

/// Containers per honest machine; an honest user deletes each instance before the next create.
const MAX_CONTAINERS: u32 = 20;
/// Instances on the attacker's machine.
const HOSTILE_INSTANCES: u32 = 4;
/// The backends that run honest agents.
pub const HONEST: [&str; 2] = ["honest-1", "honest-2"];

/// A registered backend whose agent is the attacker.
#[derive(Debug, Clone)]
pub struct Hostile {
    pub id: String,
    pub key: String,
    /// The instances on it, with their owners.
    pub instances: Vec<(String, String)>,
}

/// Starts replicas, honest agents, and registers the attacker's backend.
pub async fn start(replicas: usize) -> (World, Hostile) {
    let mut world = World::start(replicas).await;
    add_honest(&mut world).await;
    let hostile = register(&mut world, "hostile").await;
    (world, hostile)
}

/// The same with instances on the attacker's backend, which has no room for more.
pub async fn start_with_instances(replicas: usize) -> (World, Hostile) {
    let mut world = World::start(replicas).await;
    // While it is the only machine, everything is placed on it.
    let index = world.add_agent("hostile", HOSTILE_INSTANCES).await;
    let user = world.user("eve").await;
    for _ in 0..HOSTILE_INSTANCES {
        let answer = user.create().await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let mut hostile = identify(&world, "hostile", index).await;
    hostile.instances = assigned(&world, &hostile.id).await;
    add_honest(&mut world).await;
    (world, hostile)
}

async fn add_honest(world: &mut World) {
    for name in HONEST {
        world.add_agent(name, MAX_CONTAINERS).await;
    }
}

/// Registers another backend of the attacker.
pub async fn register(world: &mut World, name: &str) -> Hostile {
    let index = world.register(name, 1).await;
    identify(world, name, index).await
}

async fn identify(world: &World, name: &str, index: usize) -> Hostile {
    let answer = world.backend(name).await.get("/api/v2/backend").await;
    let id = answer.data()["id"].as_str().expect("a backend's id").to_owned();
    Hostile { id, key: world.agents[index].key.clone(), instances: vec![] }
}

/// The owner and the id of each instance that is assigned to a backend.
async fn assigned(world: &World, backend: &str) -> Vec<(String, String)> {
    let broker = world.nats.main().await;
    let stream = broker.jetstream().get_stream("ASSIGNMENTS").await.unwrap();
    let subjects = stream.info_with_subjects(format!("dockhost.assignment.{backend}.>")).await.unwrap();
    let subjects: Vec<(String, usize)> = subjects.try_collect().await.unwrap();
    let mut instances = Vec::new();
    for (subject, _) in subjects {
        let message = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        let assignment: Value = serde_json::from_slice(&message.payload).unwrap();
        let text = |field: &str| assignment[field].as_str().unwrap().to_owned();
        instances.push((text("userId"), text("instanceId")));
    }
    instances
}
