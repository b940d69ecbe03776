//! A replica whose clock is wrong uses the broker's time.

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

#[tokio::test]
async fn clock_that_is_wrong_changes_no_deadline_session_or_token() {
    let Some(library) = FAKETIME.into_iter().find(|library| Path::new(library).is_file()) else {
        println!("left out: libfaketime is not installed (Debian: faketime)");
        return;
    };
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
