//! What `dockhost serve` refuses to start with, in one message; and what it starts without.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::http::SSH_KEY;
use crate::harness::{World, run, wait_until};

const NOBODY: &str = "mongodb://127.0.0.1:1/?directConnection=true";

#[tokio::test]
async fn missing_and_short_secrets_are_all_named_at_once() {
    let nowhere = tempfile::tempdir().unwrap();
    let env = [
        ("USER_ACCESS_TOKEN_SECRET", "tooshort".to_owned()),
        ("DOCKHOST_NATS_CREDS", "no-seed".to_owned()),
        ("DOCKHOST_MASTER_KEY", "no-key".to_owned()),
        ("PORT", "0".to_owned()),
    ];
    let said = run(nowhere.path(), &["serve"], &env).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    for name in [
        "USER_ACCESS_TOKEN_SECRET",
        "BACKEND_ACCESS_TOKEN_SECRET",
        "DOCKHOST_MASTER_KEY",
        "DOCKHOST_NATS_CREDS",
        "DOCKHOST_CALLOUT_SEED",
    ] {
        assert_eq!(said.err.lines().filter(|line| line.starts_with(&format!("  - {name}"))).count(), 1, "{said:?}");
    }
    assert_eq!(said.err.matches("dockhost: ").count(), 1, "more than one message: {said:?}");
    for secret in ["tooshort", "no-seed", "no-key"] {
        assert!(!said.err.contains(secret), "a secret is shown: {said:?}");
    }
}

#[tokio::test]
async fn a_log_opens_with_its_own_master_key_only() {
    let world = World::start(1).await;
    world.user("ada").await;
    let mut env = world.server_env();
    env.push(("DOCKHOST_MASTER_KEY", STANDARD.encode([7; 32])));
    let said = run(world.data.path(), &["serve"], &env).await;
    assert!(said.code == 1 && said.err.contains("DOCKHOST_MASTER_KEY is not the key"), "{said:?}");
    assert_eq!(world.client(0).get("/health").await.status, 200, "the one with the right key goes on");
}

#[tokio::test]
async fn a_setting_that_cannot_be_read_is_named() {
    let world = World::start(0).await;
    for (name, value) in [("FRONTEND_URL", "app.example.org"), ("PORT", "http"), ("DOCKHOST_CREATE_WITHIN_MS", "-1")] {
        let mut env = world.server_env();
        env.push((name, value.to_owned()));
        let said = run(world.data.path(), &["serve"], &env).await;
        assert!(said.code == 2 && said.err.contains(value), "{name}: {said:?}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_holder() {
    let world = World::start(0).await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut env = world.server_env();
    env.push(("PORT", held.local_addr().unwrap().port().to_string()));
    let said = run(world.data.path(), &["serve"], &env).await;
    assert!(said.code == 1 && said.err.contains(&format!("(process {})", std::process::id())), "{said:?}");
}

/// Commands, sign-in and session checks stand on the log; only what reads the models needs the database.
#[tokio::test]
async fn without_a_database_commands_go_on_and_lists_say_why_not() {
    let mut world = World::with(1, &[("MONGODB_URI", NOBODY)]).await;
    let client = world.client(0);
    let health = client.get("/health").await;
    assert_eq!((health.status, &health.body["down"]), (503, &json!(["database"])), "{health:?}");
    assert_eq!((&health.body["database"], &health.body["broker"]), (&json!("down"), &json!("up")), "{health:?}");

    let ada = world.user("ada").await;
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    let signed_in = client.post("/api/v2/user/signin", credentials).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let list = ada.get("/api/v2/user/instance").await;
    assert_eq!((list.status, list.code()), (503, "database_unavailable"), "{list:?}");
    assert!(list.header("retry-after").is_some(), "{list:?}");
    assert!(!list.body.to_string().contains("127.0.0.1:1"), "an inner address is shown: {list:?}");

    let alpha = world.register("alpha", 5).await;
    world.start_agent(alpha, &[]);
    let made = wait_until("an instance is made", Duration::from_secs(60), async || {
        let answer = ada.post("/api/v2/user/instance", json!({ "sshPublicKey": SSH_KEY })).await;
        if answer.code() == "no_backend" { Err(format!("{answer:?}")) } else { Ok(answer) }
    })
    .await;
    assert_eq!((made.status, &made.data()["status"]), (201, &json!("running")), "{made:?}");
    let signed_out = ada.post("/api/v2/user/signout", json!({})).await;
    assert_eq!(signed_out.status, 200, "{signed_out:?}");
    assert_eq!(ada.get("/api/v2/user/instance").await.status, 401);
}
