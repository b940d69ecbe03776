//! The system under attack.

use dockhost_harness::World;

/// Containers per honest machine; an honest user deletes each instance before the next create.
const MAX_CONTAINERS: u32 = 20;
/// The backends that run honest agents.
pub const HONEST: [&str; 2] = ["honest-1", "honest-2"];

/// A registered backend whose agent is the attacker.
#[derive(Debug, Clone)]
pub struct Hostile {
    pub id: String,
    pub key: String,
}

/// Starts replicas, honest agents, and registers the attacker's backend.
pub async fn start(replicas: usize) -> (World, Hostile) {
    let mut world = World::start(replicas).await;
    for name in HONEST {
        world.add_agent(name, MAX_CONTAINERS).await;
    }
    let hostile = register(&mut world, "hostile").await;
    (world, hostile)
}

/// Registers another backend of the attacker.
pub async fn register(world: &mut World, name: &str) -> Hostile {
    let index = world.register(name, 1).await;
    let answer = world.backend(name).await.get("/api/v2/backend").await;
    let id = answer.data()["id"].as_str().expect("a backend's id").to_owned();
    Hostile { id, key: world.agents[index].key.clone() }
}
