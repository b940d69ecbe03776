//! The start of `dockhost serve`: which configurations it refuses, what it logs, and which servers may be down.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::http::SSH_KEY;
use crate::harness::{World, run, wait_until};

/// A port that no database listens on.
const NO_DATABASE: &str = "mongodb://127.0.0.1:1/?directConnection=true";

#[tokio::test]
async fn serve_invalid_configuration_names_everything_at_once() {
    let nowhere = tempfile::tempdir().unwrap();
    let env = [
        ("USER_ACCESS_TOKEN_SECRET", "tooshort".to_owned()),
        ("DOCKHOST_NATS_CREDS", "no-seed".to_owned()),
        ("DOCKHOST_MASTER_KEY", "no-key".to_owned()),
        ("DOCKHOST_CALLOUT_SEED", String::new()),
        ("DOCKHOST_REPLICAS", String::new()),
        ("FRONTEND_URL", "app.example.org".to_owned()),
        ("PORT", "http".to_owned()),
        ("DOCKHOST_CREATE_WITHIN_MS", "-1".to_owned()),
    ];
    let output = run(nowhere.path(), &["serve"], &env).await;
    assert_eq!((output.code, output.out.as_str()), (2, ""), "{output:?}");
    for name in [
        "USER_ACCESS_TOKEN_SECRET",
        "BACKEND_ACCESS_TOKEN_SECRET",
        "DOCKHOST_MASTER_KEY",
        "DOCKHOST_NATS_CREDS",
        "DOCKHOST_CALLOUT_SEED",
        "FRONTEND_URL=\"app.example.org\"",
        "PORT=\"http\"",
        "DOCKHOST_CREATE_WITHIN_MS=\"-1\"",
    ] {
        assert_eq!(output.err.lines().filter(|line| line.starts_with(&format!("  - {name}"))).count(), 1, "{output:?}");
    }
    assert_eq!(output.err.matches("dockhost: ").count(), 1, "more than one message: {output:?}");
    assert!(!output.err.contains("DOCKHOST_REPLICAS"), "an empty variable is not absent: {output:?}");
    for secret in ["tooshort", "no-seed", "no-key"] {
        assert!(!output.err.contains(secret), "a secret is shown: {output:?}");
    }
}

#[tokio::test]
async fn serve_other_master_key_is_refused() {
    let world = World::start(1).await;
    world.user("ada").await;
    let mut env = world.server_env();
    env.push(("DOCKHOST_MASTER_KEY", STANDARD.encode([7; 32])));
    let output = run(world.data.path(), &["serve"], &env).await;
    assert!(output.code == 1 && output.err.contains("DOCKHOST_MASTER_KEY is not the key"), "{output:?}");
    assert_eq!(world.client(0).get("/health").await.status, 200, "the replica with the right key still serves");
}

#[tokio::test]
async fn serve_logs_its_configuration_and_warns_of_misspelt_variables() {
    let frontend = ("FRONTEND_URL", "https://app.example.org/start");
    let world = World::with(1, &[frontend, ("DOCKHOST_REPLICA", "3"), ("DOCKHOST_MAX_INSTANCES_PER_USER", "")]).await;
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    for text in [
        "unknown variable DOCKHOST_REPLICA has no effect; did you mean DOCKHOST_REPLICAS?",
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        "frontend=\"https://app.example.org\"",
        &format!("database=\"{}\"", world.mongo.database),
        "max_per_user=\"5\"",
        "enrolment_secret=false",
        "create_ms=",
        "copies=1",
        "position=",
    ] {
        assert!(log.contains(text), "{text} is not in: {log}");
    }
    for (name, secret) in world.nats.secrets.server_env() {
        assert!(!log.contains(&secret), "{name} is in: {log}");
    }
}

#[tokio::test]
async fn serve_port_in_use_names_its_owner() {
    let world = World::start(0).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut env = world.server_env();
    env.push(("PORT", listener.local_addr().unwrap().port().to_string()));
    let output = run(world.data.path(), &["serve"], &env).await;
    assert!(output.code == 1 && output.err.contains(&format!("(process {})", std::process::id())), "{output:?}");
}

/// Commands, sign-in and session checks need only the log; queries need the database.
#[tokio::test]
async fn serve_without_database_runs_commands_and_queries_answer_503() {
    let mut world = World::with(1, &[("MONGODB_URI", NO_DATABASE)]).await;
    let client = world.client(0);
    let health = client.get("/health").await;
    assert_eq!((health.status, &health.body["down"]), (503, &json!(["database"])), "{health:?}");
    assert_eq!(
        (&health.body["database"], &health.body["broker"]),
        (&json!("disconnected"), &json!("connected")),
        "{health:?}"
    );

    let ada = world.user("ada").await;
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    let signed_in = client.post("/api/v2/user/signin", credentials).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let list = ada.get("/api/v2/user/instance").await;
    assert_eq!((list.status, list.code()), (503, "database_unavailable"), "{list:?}");
    assert!(list.header("retry-after").is_some(), "{list:?}");
    assert!(!list.body.to_string().contains("127.0.0.1:1"), "an internal address is shown: {list:?}");

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

/// Whoever reaches a nats-server without DockHost's configuration is any backend.
#[tokio::test]
async fn serve_with_an_open_broker_is_refused() {
    let world = World::start(0).await;
    let store = tempfile::tempdir().unwrap();
    let port = crate::harness::ports::free().to_string();
    let downloads = crate::harness::target_tmp();
    let program = dockhost::dev::fetch::find(&dockhost::dev::fetch::NATS_SERVER, &downloads).await.unwrap();
    let mut open = tokio::process::Command::new(program)
        .args(["-js", "-a", "127.0.0.1", "-p", &port, "-sd"])
        .arg(store.path())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut env = world.server_env();
    env.push(("NATS_URL", format!("nats://127.0.0.1:{port}")));
    let output = run(world.data.path(), &["serve"], &env).await;
    assert!(output.code == 1 && output.err.contains("the broker has no access rules"), "{output:?}");
    open.kill().await.unwrap();
}

/// Agents would be told that their keys are wrong.
#[tokio::test]
async fn serve_with_another_callout_seed_than_the_brokers_key_is_refused() {
    let world = World::start(1).await;
    let mut env = world.server_env();
    let seed = nkeys::KeyPair::new_account();
    env.push(("DOCKHOST_CALLOUT_SEED", seed.seed().unwrap()));
    let output = run(world.data.path(), &["serve"], &env).await;
    let expected = format!("DOCKHOST_CALLOUT_KEY has to be {}", seed.public_key());
    assert!(output.code == 1 && output.err.contains(&expected), "{output:?}");
    assert!(!output.err.contains(&seed.seed().unwrap()), "the seed is shown: {output:?}");
    assert_eq!(world.client(0).get("/health").await.status, 200, "the replica with the right seed still serves");
}

#[tokio::test]
async fn env_file_of_the_working_directory_only_is_read_and_its_text_is_never_shown() {
    let parent = tempfile::tempdir().unwrap();
    let child = parent.path().join("child");
    std::fs::create_dir(&child).unwrap();
    std::fs::write(parent.path().join(".env"), "PORT=0\nUSER_ACCESS_TOKEN_SECRET=topsecret words\n").unwrap();
    let refused = run(parent.path(), &["serve"], &[]).await;
    assert!(refused.code == 2 && refused.err.contains("line 2 of .env"), "{refused:?}");
    assert!(!refused.err.contains("topsecret"), "{refused:?}");
    for args in [["--version"], ["secrets"], ["openapi"]] {
        let output = run(parent.path(), &args, &[]).await;
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
    }
    let below = run(&child, &["serve"], &[]).await;
    assert!(below.code == 2 && !below.err.contains("line 2"), "the parent's file was read: {below:?}");
}

#[tokio::test]
async fn secrets_write_makes_a_private_file_and_replaces_none() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    let written = run(directory.path(), &["secrets", "--write", ".env"], &[]).await;
    assert!(written.code == 0 && written.out.is_empty(), "{written:?}");
    let first = std::fs::read_to_string(&file).unwrap();
    assert!(first.contains("\nDOCKHOST_MASTER_KEY=") && first.contains("\nDOCKHOST_NATS_KEY=U"), "{first}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(directory.path(), &["secrets", "--write", ".env"], &[]).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
}

/// With a copy of `.env.example` a server lacks its secrets; with this file it has them.
#[tokio::test]
async fn secrets_env_example_has_everything_that_serve_requires() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    let invalid = [("PORT", "http".to_owned())];
    let is_about = |problems: &str, name: &str| problems.contains(&format!("  - {name}"));

    std::fs::write(&file, dockhost_environment::EXAMPLE).unwrap();
    let copied = run(directory.path(), &["serve"], &invalid).await;
    assert!(copied.code == 2 && is_about(&copied.err, "DOCKHOST_MASTER_KEY is missing"), "{copied:?}");

    let refused = run(directory.path(), &["secrets", "--env-example", "--write", ".env"], &[]).await;
    assert!(refused.code == 1 && refused.err.contains(".env is not written"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), dockhost_environment::EXAMPLE);

    std::fs::remove_file(&file).unwrap();
    let written = run(directory.path(), &["secrets", "--env-example", "--write", ".env"], &[]).await;
    assert_eq!(written.code, 0, "{written:?}");
    let complete = run(directory.path(), &["serve"], &invalid).await;
    assert!(complete.code == 2 && is_about(&complete.err, "PORT="), "{complete:?}");
    assert_eq!(complete.err.matches("\n  - ").count(), 1, "something else is wrong: {complete:?}");
}

/// A URL that can't be parsed is no reason to wait for a broker.
#[tokio::test]
async fn serve_invalid_urls_are_refused_at_once_without_their_passwords() {
    let nowhere = tempfile::tempdir().unwrap();
    let env = [
        ("NATS_URL", "http://user:hunter2@nats-1:4222".to_owned()),
        ("MONGODB_URI", "mongo://user:hunter2@mongo-1".to_owned()),
    ];
    let output = run(nowhere.path(), &["serve"], &env).await;
    assert_eq!(output.code, 2, "{output:?}");
    for problem in ["NATS_URL: URL 1 is not of the form nats://", "MONGODB_URI: it is not of the form mongodb://"] {
        assert!(output.err.contains(problem), "{output:?}");
    }
    assert!(!output.err.contains("hunter2"), "{output:?}");
}
