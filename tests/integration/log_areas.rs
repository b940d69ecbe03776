//! The server's own log: its areas, its forms, and what is never in it.

use std::collections::BTreeSet;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::collector::Collector;
use crate::harness::http::SSH_KEY;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const PASSWORD: &str = "canary-of-the-password";
const EMAIL: &str = "canary-of-the-address@example.org";

async fn world(settings: &[(&'static str, &str)]) -> World {
    // The filter of the tests themselves.
    let settings: Vec<_> = [("RUST_LOG", "")].into_iter().chain(settings.iter().copied()).collect();
    World::with(1, &settings).await
}

fn log(world: &World) -> String {
    std::fs::read_to_string(&world.replicas[0].log).unwrap()
}

/// Signs up, fails to sign in, and creates, stops and deletes an instance; returns every secret and personal value of it.
async fn live(world: &mut World) -> Vec<String> {
    let key = world.add_agent("alpha", 5).await;
    let client = world.client(0);
    let sign_up = json!({ "username": "ada", "email": EMAIL, "password": PASSWORD, "sshPublicKey": SSH_KEY });
    let signed_up = client.post("/api/v2/user/signup", sign_up).await;
    assert_eq!(signed_up.status, 201, "{signed_up:?}");
    let token = signed_up.data()["accessToken"].as_str().unwrap().to_owned();
    let wrong = json!({ "username": "ada", "password": "canary-of-a-wrong-password" });
    assert_eq!(client.post("/api/v2/user/signin", wrong).await.status, 401);
    let ada = client.with_token(&token);
    let name = json!({ "name": "canary-of-the-instance" });
    let headers = [("idempotency-key", "canary-of-the-idempotency-key")];
    let created = ada.json(Method::POST, "/api/v2/user/instance", &headers, name).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.data()["instanceId"].as_str().unwrap().to_owned();
    let which = json!({ "instanceId": "canary-of-the-instance" });
    assert_eq!(ada.put("/api/v2/user/instance/stop", which).await.status, 200);
    ada.get("/api/v2/user/instance/canary-of-the-instance").await;
    let tokens = ada.post("/api/v2/user/tokens", json!({ "name": "canary-of-the-token", "scope": "read" })).await;
    assert_eq!(ada.delete("/api/v2/user/instance", json!({ "instanceId": id })).await.status, 200);
    assert_eq!(ada.post("/api/v2/user/signout", json!({})).await.status, 200);
    let api_key = world.agents[key].key.clone();
    let api_token = tokens.data()["accessToken"].as_str().unwrap().to_owned();
    let ssh_key = SSH_KEY.split(' ').nth(1).unwrap().to_owned();
    let mut secrets = vec!["canary".to_owned(), EMAIL.to_owned(), token, api_key, api_token, ssh_key];
    secrets.extend(world.nats.secrets.server_env().into_iter().map(|(_, secret)| secret));
    secrets
}

/// The targets of the lines of a JSON log, at this level.
fn targets(log: &str, level: &str) -> BTreeSet<String> {
    let lines =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    let lines = lines.filter(|line| line["level"] == level);
    lines.map(|line| line["target"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn log_and_spans_with_all_areas_name_no_secret_and_no_person() {
    let collector = Collector::start().await;
    let settings =
        [("DEBUG", "dockhost:*"), ("DOCKHOST_LOG", "json"), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    let mut world = world(&settings).await;
    let secrets = live(&mut world).await;
    let log = log(&world);
    // Exports the last spans.
    world.stop_replica(0).await;
    let names: BTreeSet<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(["request", "command", "append"].iter().all(|name| names.contains(*name)), "{names:?}");
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret} is in the log");
        let is_exported = |body: &Bytes| body.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!collector.bodies().iter().any(is_exported), "{secret} is in a span");
    }
    let targets = targets(&log, "DEBUG");
    for area in ["auth", "backend", "container", "access"] {
        assert!(targets.contains(&format!("dockhost::{area}")), "{area} is not in {targets:?}");
    }
    assert!(log.contains("\"sign-in failed\""), "{log}");
    // Every request has its line, with its route, never its path.
    let route = "\"route\":\"/api/v2/user/instance/{instanceId}\"";
    assert!(log.lines().any(|line| line.contains("\"answered\"") && line.contains(route)), "{log}");
}

#[tokio::test]
async fn log_of_one_area_has_its_debug_lines_only() {
    for area in ["auth", "container"] {
        let mut world = world(&[("DEBUG", &format!("dockhost:{area}")), ("DOCKHOST_LOG", "json")]).await;
        live(&mut world).await;
        let targets = targets(&log(&world), "DEBUG");
        assert!(targets.contains(&format!("dockhost::{area}")), "{area}: {targets:?}");
        for other in ["auth", "backend", "container", "access"].into_iter().filter(|other| *other != area) {
            assert!(!targets.contains(&format!("dockhost::{other}")), "{other} is among {targets:?}");
        }
    }
}

#[tokio::test]
async fn log_has_a_line_for_an_operation_that_fails() {
    let mut world = world(&[("DOCKHOST_STOP_WITHIN_MS", "1000"), ("DOCKHOST_LOG", "json")]).await;
    let agent = world.add_agent("alpha", 5).await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    let id = created.data()["instanceId"].as_str().unwrap();
    world.pause_agent(agent).await;
    let stopped = ada.put("/api/v2/user/instance/stop", json!({ "instanceId": id })).await;
    assert_eq!((stopped.status, stopped.code()), (503, "operation_failed"), "{stopped:?}");
    let line = wait_until("the log tells of the failure", DEADLINE, async || {
        let log = log(&world);
        log.lines().find(|line| line.contains("an operation failed")).map(str::to_owned).ok_or(log)
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let fields = &line["fields"];
    assert_eq!((&line["level"], &line["target"]), (&json!("WARN"), &json!("dockhost::container")));
    assert_eq!((&fields["instance"], &fields["operation"]), (&json!(id), &json!("stop")), "{line}");
    assert_eq!(fields["backend"], created.data()["backendId"], "{line}");
    assert_eq!(fields["reason"], "the backend did not answer in time");
    assert!(fields["seconds"].as_f64().is_some_and(|seconds| (1.0..20.0).contains(&seconds)), "{line}");
    world.resume_agent(agent).await;
}
