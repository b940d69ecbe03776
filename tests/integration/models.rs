//! `dockhost verify` and `dockhost rebuild` beside running replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dockhost_projections::MODELS;
use serde_json::json;

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{CommandOutput, World, run, wait_until};

async fn dockhost(world: &World, args: &[&str]) -> CommandOutput {
    run(world.data.path(), args, &world.server_env()).await
}

/// Checks that all models were found equal.
fn assert_all_equal(said: &CommandOutput) {
    assert_eq!(said.code, 0, "{said:?}");
    for model in MODELS {
        assert!(said.out.contains(&format!("{}: equal, ", model.name)), "{}: {said:?}", model.name);
    }
    let digests = |word: &str| -> Vec<String> {
        let lines = said.out.lines().filter_map(|line| line.trim().strip_prefix(word));
        lines.map(|digest| digest.trim().to_owned()).collect()
    };
    let stored = digests("stored");
    assert!(stored.len() == MODELS.len() && stored == digests("from log"), "{said:?}");
}

/// Waits until the read models hold all of the log.
async fn caught_up(client: &Client) {
    wait_until("the read models hold the log", DEADLINE, async || client.models_hold_log().await).await;
}

/// The collection that a rebuild has switched to.
fn collection(said: &CommandOutput, model: &str) -> String {
    let line = said.out.lines().find(|line| line.starts_with(&format!("{model}: rebuilt, "))).unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn rebuild_and_verify_beside_readers_find_equal_models_and_fail_no_read() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    for _ in 0..3 {
        assert_eq!(ada.create().await.status, 201);
    }
    let gone = ada.delete("/api/v2/user/instance", json!({ "instanceId": "ada-container-2" })).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    caught_up(&world.client(0)).await;
    let before = ada.get("/api/v2/user/instance").await.data().clone();
    assert_eq!(before.as_array().unwrap().len(), 2);

    assert_all_equal(&dockhost(&world, &["verify"]).await);
    let one = dockhost(&world, &["verify", "--projection", "instances"]).await;
    assert!(one.code == 0 && one.out.contains("instances: equal, ") && !one.out.contains("users:"), "{one:?}");

    // Clients of both replicas read meanwhile.
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|replica| {
            let (reader, over) = (ada.at(&world.replicas[replica].url), Arc::clone(&over));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    answers.push(reader.get("/api/v2/user/instance").await);
                }
                answers
            })
        })
        .collect();
    let first = dockhost(&world, &["rebuild", "--projection", "instances"]).await;
    // Events that are recorded during and after a rebuild are in the model.
    assert_eq!(ada.put("/api/v2/user/instance/stop", json!({ "instanceId": "ada-container" })).await.status, 200);
    assert_eq!(ada.put("/api/v2/user/instance/resume", json!({ "instanceId": "ada-container" })).await.status, 200);
    over.store(true, Ordering::Relaxed);
    assert_eq!(first.code, 0, "{first:?}");
    let mut read = 0;
    for reader in readers {
        for answer in reader.await.unwrap() {
            assert_eq!((answer.status, answer.data().as_array().map(Vec::len)), (200, Some(2)), "{answer:?}");
            read += 1;
        }
    }
    assert!(read > 20, "only {read} reads");

    // A dry run changes nothing: the next rebuild switches to the next collection.
    caught_up(&world.client(0)).await;
    let looked = dockhost(&world, &["rebuild", "--dry-run"]).await;
    assert_all_equal(&looked);
    assert!(!looked.out.contains("rebuilt"), "{looked:?}");
    let all = dockhost(&world, &["rebuild"]).await;
    assert_all_equal(&all);
    let (one, two) = (collection(&first, "instances"), collection(&all, "instances"));
    let number = |name: &str| name.rsplit("_v").next().and_then(|n| n.parse::<u32>().ok());
    assert!(number(&one).is_some() && number(&two) == number(&one).map(|n| n + 1), "{one} then {two}");
    assert_all_equal(&dockhost(&world, &["verify"]).await);
    assert_eq!(ada.create().await.status, 201, "after the rebuild");
}

#[tokio::test]
async fn rebuild_and_verify_exit_code_is_failure_for_unknown_empty_and_unavailable_models() {
    let world = World::start(1).await;
    world.user("ada").await;
    let unknown = dockhost(&world, &["rebuild", "--projection", "nothing"]).await;
    assert!(unknown.code == 2 && unknown.err.contains("instances"), "{unknown:?}");

    // An empty database, which lacks what the log holds.
    let mut env = world.server_env();
    env.push(("DOCKHOST_DATABASE", format!("{}-empty", world.mongo.database)));
    let empty = run(world.data.path(), &["verify", "--projection", "users"], &env).await;
    assert!(empty.code == 1 && empty.out.contains("EMPTY"), "{empty:?}");

    env.push(("MONGODB_URI", "mongodb://127.0.0.1:1/?directConnection=true".to_owned()));
    let down = run(world.data.path(), &["verify"], &env).await;
    let last = down.err.lines().last().unwrap_or_default();
    assert!(down.code == 1 && last.starts_with("dockhost: the database is unavailable"), "{down:?}");
}
