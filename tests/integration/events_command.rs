//! `dockhost events` and `dockhost admin usage`: what happened, on the command line.

use std::collections::BTreeSet;

use dockhost_domain::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::harness::{ADMIN, ADMIN_PASSWORD, CommandOutput, Topology, World, run_with_input};

async fn token(world: &World, name: &str, password: &str) -> String {
    let body = json!({ "username": name, "password": password });
    let answer = world.client(0).post("/api/v2/user/signin", body).await;
    answer.data()["accessToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Runs `dockhost` with this token.
async fn run(world: &World, token: &str, args: &[&str]) -> CommandOutput {
    let env = [("DOCKHOST_URL", world.replicas[0].url.clone()), ("DOCKHOST_TOKEN", token.to_owned())];
    run_with_input(world.data.path(), args, &env, "").await
}

fn events(output: &CommandOutput) -> Vec<Value> {
    assert_eq!(output.code, 0, "{output:?}");
    output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn events_command_prints_what_happened_to_administrators_only() {
    let mut world = World::on(Topology::ONE, 1, &ADMIN).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    let admin = token(&world, "admin", ADMIN_PASSWORD).await;

    let all = events(&run(&world, &admin, &["events", "-o", "json"]).await);
    let sequences: Vec<_> = all.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted() && sequences.len() > 8, "{sequences:?}");
    let text = Value::from(all.clone()).to_string();
    for personal in ["ada@example.org", "ada-container", "ssh-ed25519", "$sealed"] {
        assert!(!text.contains(personal), "{personal}");
    }
    let of_ada = events(&run(&world, &admin, &["events", "-o", "json", "--user", "ada"]).await);
    let subjects: BTreeSet<_> = of_ada.iter().map(|event| event["subject"].as_str().unwrap()).collect();
    let id = of_ada[0]["subject"].as_str().unwrap().split_once('.').unwrap().1;
    assert_eq!(
        subjects,
        ["account", "session", "tenancy"].map(|kind| format!("{kind}.{id}")).iter().map(String::as_str).collect()
    );

    let after_the_first = events(&run(&world, &admin, &["events", "-o", "json", "--since", "1"]).await);
    let later: Vec<_> = after_the_first.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(later[..sequences.len() - 1], sequences[1..]);
    let requested = run(&world, &admin, &["events", "--type", "instance.requested"]).await;
    let lines: Vec<_> = requested.out.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains("instance.requested.v1") && lines[0].contains("user ada"),
        "{lines:?}"
    );

    let ada = token(&world, "ada", "correct horse").await;
    let refused = run(&world, &ada, &["events"]).await;
    assert!(refused.code == 3 && refused.out.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn admin_usage_is_what_the_histories_of_the_instances_say() {
    let mut world = World::on(Topology::ONE, 1, &ADMIN).await;
    world.add_agent("alpha", 10).await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    let id = created.data()["instanceId"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned();
    let which = json!({ "instanceId": id });
    assert_eq!(ada.put("/api/v2/user/instance/stop", which.clone()).await.status, 200);
    assert_eq!(ada.put("/api/v2/user/instance/resume", which.clone()).await.status, 200);
    assert_eq!(ada.put("/api/v2/user/instance/stop", which).await.status, 200);
    let admin = token(&world, "admin", ADMIN_PASSWORD).await;

    // By another way: from the observations in the audit.
    let observed = events(&run(&world, &admin, &["events", "-o", "json", "--type", "instance.observed"]).await);
    let (mut millis, mut since) = (0, None);
    for event in &observed {
        let time: Timestamp = event["time"].as_str().unwrap().parse().unwrap();
        match (event["data"]["seen"]["phase"].as_str().unwrap(), since) {
            ("running", None) => since = Some(time),
            ("stopped", Some(started)) => {
                millis += time.since(started).as_millis();
                since = None;
            }
            _ => {}
        }
    }
    assert!(since.is_none() && millis > 0, "{observed:?}");
    let csv = run(&world, &admin, &["admin", "usage", "--from", "2020-01-01T00:00:00Z", "-o", "csv"]).await;
    let lines: Vec<Vec<&str>> = csv.out.lines().map(|line| line.split(',').collect()).collect();
    let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
    assert_eq!(lines.len(), 2, "{csv:?}");
    assert_eq!((lines[1][1], lines[1][2], lines[1][4], lines[1][5]), ("ada", id.as_str(), "alpha", seconds.as_str()));
    let json = run(&world, &admin, &["admin", "usage", "--from", "2020-01-01T00:00:00Z", "-o", "json"]).await;
    let usage: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(usage["users"][0]["username"], "ada");
    let table = run(&world, &admin, &["admin", "usage", "--from", "2020-01-01T00:00:00Z", "--by", "backend"]).await;
    let rows: Vec<Vec<&str>> = table.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&rows[0][..2], rows[1][0]), (&["BACKEND", "SECONDS"][..], "alpha"), "{table:?}");
}
