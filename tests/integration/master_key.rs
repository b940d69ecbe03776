//! `dockhost rotate-master-key`, beside replicas that serve.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{CommandOutput, World, run};

const CURRENT: &str = "DOCKHOST_MASTER_KEY";
const PREVIOUS: &str = "DOCKHOST_MASTER_KEY_PREVIOUS";

/// At each replica a person signs up, whose key that replica wraps; then everybody can sign in at every replica.
async fn check(world: &World, people: &mut Vec<String>) {
    for replica in 0..world.replicas.len() {
        let name = format!("person-{}", people.len());
        let answer = world.client(replica).sign_up(&name).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        people.push(name);
    }
    for replica in 0..world.replicas.len() {
        for name in &*people {
            let credentials = json!({ "username": name, "password": "correct horse" });
            let answer = world.client(replica).post("/api/v2/user/signin", credentials).await;
            assert_eq!(answer.status, 200, "{name} at replica {replica}: {answer:?}");
            assert_eq!(answer.data()["user"]["username"], json!(name));
        }
    }
}

/// Restarts the replicas one by one with these master keys; meanwhile some have the keys of before.
async fn restart_with(world: &mut World, current: &str, previous: &str, people: &mut Vec<String>) {
    world.set(CURRENT, current);
    world.set(PREVIOUS, previous);
    for replica in 0..world.replicas.len() {
        world.restart_replica(replica).await;
        check(world, people).await;
    }
}

async fn rotate(world: &World) -> CommandOutput {
    run(world.data.path(), &["rotate-master-key"], &world.server_env()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_master_key_beside_replicas_is_noticed_by_nobody() {
    let mut world = World::start(2).await;
    let old = world.server_env().into_iter().find(|(name, _)| *name == CURRENT).unwrap().1;
    let new = STANDARD.encode([9; 32]);
    let mut people = Vec::new();
    check(&world, &mut people).await;
    let refused = rotate(&world).await;
    assert!(refused.code == 1 && refused.err.contains("DOCKHOST_MASTER_KEY_PREVIOUS is not set"), "{refused:?}");

    restart_with(&mut world, &old, &new, &mut people).await;
    restart_with(&mut world, &new, &old, &mut people).await;
    let rotated = rotate(&world).await;
    assert!(rotated.code == 0 && rotated.out.contains("keys wrapped by the new master key"), "{rotated:?}");
    check(&world, &mut people).await;
    let again = rotate(&world).await;
    assert!(again.code == 0 && again.out.starts_with("0 keys wrapped by the new master key"), "{again:?}");
    restart_with(&mut world, &new, "", &mut people).await;

    // The old one alone is of no use any more.
    world.set(CURRENT, &old);
    let wrong = run(world.data.path(), &["serve"], &world.server_env()).await;
    assert!(wrong.code == 1 && wrong.err.contains("DOCKHOST_MASTER_KEY is not the key"), "{wrong:?}");
    world.set(CURRENT, &new);
    world.verify().await;
}
