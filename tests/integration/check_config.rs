//! `dockhost check-config`: it says of settings what `dockhost serve` says of them, and which servers can be used.

use dockhost::dev::secrets::GeneratedSecrets;
use serde_json::{Value, json};

use crate::harness::{CommandOutput, World, run};

fn report(output: &CommandOutput) -> Value {
    serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

fn assert_hides(output: &CommandOutput, secret: &str) {
    assert!(!output.out.contains(secret) && !output.err.contains(secret), "{secret} is in {output:?}");
}

#[tokio::test]
async fn check_config_with_servers_that_answer_is_well_and_shows_no_secret() {
    let world = World::start(0).await;
    let env = world.server_env();
    let text = run(world.data.path(), &["check-config"], &env).await;
    assert_eq!(text.code, 0, "{text:?}");
    let lines: Vec<_> = text.out.lines().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(lines, ["settings: ok", "broker: ok", "database: ok"], "{text:?}");
    assert!(text.out.contains(&world.mongo.database), "{text:?}");
    for (_, secret) in world.nats.secrets.server_env() {
        assert_hides(&text, &secret);
    }
    let json = run(world.data.path(), &["check-config", "-o", "json"], &env).await;
    let report = report(&json);
    assert_eq!((json.code, &report["problems"]), (0, &json!([])), "{json:?}");
    assert_eq!([&report["broker"]["status"], &report["database"]["status"]], ["ok", "ok"], "{json:?}");
}

#[tokio::test]
async fn check_config_with_a_server_that_is_away_names_it_and_why() {
    let world = World::start(0).await;
    for (away, other, variable, url) in [
        ("database", "broker", "MONGODB_URI", "mongodb://user:hunter2@127.0.0.1:1/?directConnection=true"),
        ("broker", "database", "NATS_URL", "nats://user:hunter2@127.0.0.1:1"),
    ] {
        let mut env = world.server_env();
        env.push((variable, url.to_owned()));
        let output = run(world.data.path(), &["check-config", "--output", "json"], &env).await;
        let report = report(&output);
        assert_eq!((output.code, &report["problems"]), (1, &json!([])), "{output:?}");
        assert_eq!([&report[away]["status"], &report[other]["status"]], ["failed", "ok"], "{output:?}");
        let address = report[away]["address"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:1"), "{output:?}");
        assert!(report[away]["reason"].as_str().unwrap().contains("refused"), "{output:?}");
        assert_hides(&output, "hunter2");
    }
}

#[tokio::test]
async fn check_config_of_wrong_settings_has_the_problems_of_serve_and_connects_to_nothing() {
    let nowhere = tempfile::tempdir().unwrap();
    let env = [
        ("PORT", "http".to_owned()),
        ("FRONTEND_URL", "app.example.org".to_owned()),
        ("MONGODB_URI", "mongo://user:hunter2@mongo-1".to_owned()),
        ("DOCKHOST_LOG", "xml".to_owned()),
        ("DOCKHOST_TLS_CERT", "/nowhere/tls.crt".to_owned()),
        ("DOCKHOST_TLS_KEY", "/nowhere/tls.key".to_owned()),
        ("DOCKHOST_ADMIN_USERNAME", "caretaker".to_owned()),
        ("USER_ACCESS_TOKEN_SECRET", "tooshort".to_owned()),
    ];
    let serve = run(nowhere.path(), &["serve"], &env).await;
    let expected: Vec<_> = serve.err.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
    for (name, _) in &env {
        assert_eq!(expected.iter().filter(|problem| problem.contains(*name)).count(), 1, "{name}: {serve:?}");
    }
    let json = run(nowhere.path(), &["check-config", "-o", "json"], &env).await;
    let report = report(&json);
    assert_eq!((serve.code, json.code), (2, 2), "{json:?}");
    assert_eq!(report["problems"], json!(expected));
    assert_eq!([&report["broker"]["status"], &report["database"]["status"]], ["not-tried", "not-tried"], "{json:?}");
    assert!(report["problems"].to_string().contains("it must be a whole number"), "{json:?}");
    let text = run(nowhere.path(), &["check-config"], &env).await;
    let printed: Vec<_> = text.out.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
    assert_eq!((text.code, printed), (2, expected), "{text:?}");
    for output in [&serve, &json, &text] {
        assert_hides(output, "tooshort");
        assert_hides(output, "hunter2");
    }
}

#[tokio::test]
async fn check_config_offline_checks_the_settings_alone_and_warns_of_misspelt_variables() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut env = GeneratedSecrets::generate().unwrap().server_env();
    env.push(("DOCKHOST_REPLICA", "3".to_owned()));
    let output = run(nowhere.path(), &["check-config", "--offline"], &env).await;
    let expected = [
        "settings: ok",
        "  - warning: unknown variable DOCKHOST_REPLICA has no effect; did you mean DOCKHOST_REPLICAS?",
        "broker: not tried, because of --offline",
        "database: not tried, because of --offline",
    ];
    assert_eq!((output.code, output.out.lines().collect::<Vec<_>>()), (0, expected.to_vec()), "{output:?}");

    std::fs::write(nowhere.path().join(".env"), "USER_ACCESS_TOKEN_SECRET=topsecret words\n").unwrap();
    let malformed = run(nowhere.path(), &["check-config", "--offline", "-o", "json"], &env).await;
    let problem = report(&malformed)["problems"][0].clone();
    assert!(malformed.code == 2 && problem.to_string().contains("line 1 of .env"), "{malformed:?}");
    assert_hides(&malformed, "topsecret");
}
