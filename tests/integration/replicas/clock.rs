//! A replica whose clock is wrong uses the broker's time. The clock of an agent is only shown.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{INSTANCE, client_per_replica};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

/// Each replica's clock, in seconds relative to the machine's; that of the first is right.
const SKEWS: [i64; 3] = [-31, 300, 90_000];

fn faketime() -> Option<&'static str> {
    let library = FAKETIME.into_iter().find(|library| Path::new(library).is_file());
    if library.is_none() {
        println!("left out: libfaketime is not installed (Debian: faketime)");
    }
    library
}

/// Only the machine's clock is wrong.
#[tokio::test]
async fn clock_of_an_agent_that_is_a_day_ahead_is_shown_and_changes_nothing() {
    let Some(library) = faketime() else { return };
    let mut world = World::start(1).await;
    let agent = world.add_agent("alpha", 10).await;
    world.stop_agent(agent).await;
    let skewed = [("LD_PRELOAD", library), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1")];
    world.start_agent(agent, &[&skewed[..], &[("FAKETIME", "+90000s")]].concat());
    let backend = world.backend("alpha").await;
    wait_until("the deviation is shown", DEADLINE, async || {
        let shown = backend.get("/api/v2/backend").await.data()["clockAheadMs"].as_i64();
        if shown.is_some_and(|ahead| (89_940_000..=90_060_000).contains(&ahead)) {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        }
    })
    .await;
    let ada = world.user("ada").await;
    let created = ada.create().await;
    assert_eq!(created.status, 201, "{created:?}");
    for change in ["stop", "resume"] {
        let path = format!("{INSTANCE}/{change}");
        let changed = ada.put(&path, json!({ "instanceId": created.data()["instanceId"] })).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    assert!(world.overdue(Duration::from_secs(60)).await.is_empty());
    world.verify().await;
}

#[tokio::test]
async fn clock_that_is_wrong_changes_no_deadline_session_or_token() {
    let Some(library) = faketime() else { return };
    let mut world = World::start(1).await;
    world.set("LD_PRELOAD", library);
    world.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    world.set("DONT_FAKE_MONOTONIC", "1");
    for skew in SKEWS {
        world.set("FAKETIME", &format!("{skew:+}s"));
        world.add_replica().await;
    }
    world.add_agent("alpha", 10).await;
    let ada = client_per_replica(&world, "ada").await;
    let instance = ada[0].create().await.data()["instanceId"].clone();
    for (n, skew) in (1..).zip(SKEWS) {
        let health = world.client(n).get("/health").await;
        assert_eq!((health.status, &health.body["down"]), (503, &json!(["clock"])), "{skew}: {health:?}");
        let problem = health.body["problems"].to_string();
        assert!(problem.contains("clock"), "{problem}");

        // The operation ends neither at once nor late, because its deadline is by the broker's time.
        for change in ["stop", "resume"] {
            let path = format!("{INSTANCE}/{change}");
            let changed = ada[n].json(Method::PUT, &path, &[], json!({ "instanceId": instance })).await;
            assert_eq!(changed.status, 200, "{skew}: {changed:?}");
        }
        // A session that starts there is valid everywhere, and ends none of the others.
        let signin = json!({ "username": "ada", "password": "correct horse" });
        let signed_in = world.client(n).post("/api/v2/user/signin", signin).await;
        assert_eq!(signed_in.status, 200, "{skew}: {signed_in:?}");
        let token = signed_in.data()["accessToken"].as_str().unwrap();
        for (other, client) in ada.iter().enumerate() {
            for client in [client.with_token(token), client.clone()] {
                wait_until("the session is valid", DEADLINE, async || {
                    let list = client.get(INSTANCE).await;
                    assert_ne!(list.status, 401, "{skew}, at {other}: {list:?}");
                    if list.status == 200 { Ok(()) } else { Err(format!("{list:?}")) }
                })
                .await;
            }
        }
    }
    // An instance that its backend does not stop is late after the operation's deadline, not after the clock's error.
    assert!(world.overdue(Duration::from_secs(60)).await.is_empty());
}
