//! The end of the log: from 90 % of its limit on, only commands are accepted that end something.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, run, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";
/// The events of about four hundred instances. A tenth of it is more than the replicas store between two looks at the size.
const LIMIT: u64 = 768 << 10;

fn credentials(name: &str) -> Value {
    json!({ "username": name, "password": "correct horse" })
}

async fn change(client: &Client, to: &str, name: &str) -> Answer {
    let headers = [("prefer", "respond-async")];
    let (method, path) = match to {
        "delete" => (Method::DELETE, INSTANCE.to_owned()),
        _ => (Method::PUT, format!("{INSTANCE}/{to}")),
    };
    client.json(method, &path, &headers, json!({ "instanceId": name })).await
}

/// Creates instances on all replicas in turn until the reserve begins; returns how many.
async fn fill(clients: &[Client]) -> usize {
    for (number, client) in clients.iter().cycle().enumerate() {
        assert!(number < 2000, "the reserve never began");
        let headers = [("prefer", "respond-async")];
        let created = client.json(Method::POST, INSTANCE, &headers, json!({})).await;
        match created.status {
            202 => {}
            507 => return number,
            _ => panic!("{created:?}"),
        }
    }
    0
}

#[tokio::test]
async fn log_in_its_reserve_refuses_what_begins_and_accepts_what_ends_something() {
    let settings = [("DOCKHOST_LOG_MAX_BYTES", &*LIMIT.to_string()), ("DOCKHOST_MAX_INSTANCES_PER_USER", "2000")];
    let mut world = World::with(2, &settings).await;
    world.add_agent("alpha", 2000).await;
    let ada = world.user("ada").await;
    let eve = world.user("eve").await;
    for _ in 0..2 {
        assert_eq!(ada.create().await.status, 201);
    }
    assert!(matches!(change(&ada, "stop", "ada-container").await.status, 200 | 202));
    let at_each: Vec<Client> = world.replicas.iter().map(|replica| ada.at(&replica.url)).collect();
    let created = fill(&at_each).await;
    assert!(created > 50, "only {created} instances fit");

    // Every replica knows within one look at the log's size.
    for client in &at_each {
        let health = wait_until("the replica knows the reserve", DEADLINE, async || {
            let health = client.get("/health").await.body;
            let known = health["problems"].to_string().contains("sign-ups, sign-ins, creates and resumes are refused");
            if known { Ok(health) } else { Err(health) }
        })
        .await;
        assert_eq!(health["status"], "degraded", "{health}");
        assert_eq!(health["log"]["maxBytes"], LIMIT, "{health}");
        assert!(health["log"]["bytes"].as_u64().is_some_and(|bytes| bytes * 10 >= LIMIT * 9), "{health}");

        let refused = [
            client.sign_up("bob").await,
            client.post("/api/v2/user/signin", credentials("eve")).await,
            client.post(INSTANCE, json!({})).await,
            change(client, "resume", "ada-container").await,
        ];
        for answer in refused {
            assert_eq!((answer.status, answer.code()), (507, "log_full"), "{answer:?}");
        }
    }
    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert_eq!(log.matches("the event log is in its reserve").count(), 1, "{log}");

    let env = world.server_env();
    let status = run(world.data.path(), &["log", "status", "--json"], &env).await;
    let status: Value = serde_json::from_str(&status.out).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    let sum = |rows: &Value, member: &str| -> u64 {
        rows.as_array().unwrap().iter().map(|row| row[member].as_u64().unwrap()).sum()
    };
    for rows in ["days", "kinds"] {
        assert_eq!(sum(&status[rows], "events"), status["events"].as_u64().unwrap(), "{status}");
        assert_eq!(sum(&status[rows], "bytes"), status["bytes"].as_u64().unwrap(), "{status}");
    }
    assert_eq!(status["reserveBegins"], LIMIT.div_ceil(100) * 90, "{status}");
    let text = run(world.data.path(), &["log", "status"], &env).await;
    assert!(text.code == 0 && text.out.contains("768.00 KiB (DOCKHOST_LOG_MAX_BYTES)"), "{text:?}");
    assert!(text.out.contains("dockhost.instance.requested.v1"), "{text:?}");

    // What ends something passes, with what the system itself then records.
    for (to, name) in [("stop", "ada-container-2"), ("delete", "ada-container")] {
        let changed = change(&ada, to, name).await;
        assert!(matches!(changed.status, 200 | 202), "{to}: {changed:?}");
    }
    wait_until("the instances are stopped and deleted", DEADLINE, async || {
        let list = ada.get(INSTANCE).await;
        let instances = list.data().as_array().cloned().unwrap_or_default();
        let is = |name: &str, status: &str| instances.iter().any(|one| one["name"] == name && one["status"] == status);
        let gone = !instances.iter().any(|one| one["name"] == "ada-container");
        if gone && is("ada-container-2", "stopped") { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    assert_eq!(eve.post("/api/v2/user/signout", json!({})).await.status, 200);
    let erased = run(world.data.path(), &["erase-user", "eve", "--yes"], &env).await;
    assert_eq!(erased.code, 0, "{erased:?}");

    // More room ends it, on every replica.
    world.set("DOCKHOST_LOG_MAX_BYTES", &(16 * LIMIT).to_string());
    world.restart_replica(0).await;
    for client in &at_each {
        wait_until("sign-in works again", DEADLINE, async || {
            let signed_in = client.post("/api/v2/user/signin", credentials("ada")).await;
            if signed_in.status == 200 { Ok(()) } else { Err(format!("{signed_in:?}")) }
        })
        .await;
    }
}
