//! Rate limits of running replicas.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde_json::json;

use crate::harness::http::{Answer, Client};
use crate::harness::{World, wait_until};

const SIGN_IN: &str = "/api/v2/user/signin";

async fn sign_in(client: &Client, name: &str) -> Answer {
    client.post(SIGN_IN, json!({ "username": name, "password": "battery staple" })).await
}

/// The requests that the last answer of the endpoint left.
fn remaining(answer: &Answer) -> u32 {
    let left = answer.header("ratelimit").unwrap().split("r=").nth(1).unwrap();
    left.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn sign_in_limits_count_over_all_replicas() {
    let world = World::with(2, &[("DOCKHOST_RATE_LIMITS", "signin=20/h")]).await;
    let (first, second) = (world.client(0), world.client(1));
    for n in 0..10 {
        assert_eq!(sign_in(&first, &format!("nobody-{n}")).await.status, 401);
    }
    // The note of each reaches the other replica a moment later.
    let mut asked = 0;
    wait_until("the other replica counts them", Duration::from_secs(20), async || {
        asked += 1;
        let answer = sign_in(&second, &format!("somebody-{asked}")).await;
        assert_ne!(answer.status, 429, "after {asked} requests the other replica has counted only its own");
        if remaining(&answer) + asked + 10 <= 20 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    for n in 0..10 {
        sign_in(&second, &format!("anybody-{n}")).await;
    }
    let refused = sign_in(&second, "nobody-99").await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

#[tokio::test]
async fn sign_in_limits_hold_without_the_broker() {
    let mut world = World::with(1, &[("DOCKHOST_RATE_LIMITS", "signin=5/h")]).await;
    world.nats.kill().await;
    let client = world.client(0);
    let answers = join_all((0..8).map(|n| {
        let client = client.clone();
        async move { sign_in(&client, &format!("nobody-{n}")).await.status }
    }))
    .await;
    assert_eq!(answers.iter().filter(|status| **status == 503).count(), 5, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 3, "{answers:?}");
}

/// What a user of the README gets.
#[tokio::test]
async fn default_limits_let_people_work_and_stop_floods() {
    let world = World::with(1, &[("DOCKHOST_RATE_LIMITS", "")]).await;
    let ada = world.user("ada").await;
    let answer = ada.get("/api/v2/user/instance").await;
    assert_eq!(answer.header("ratelimit-policy"), Some("\"read\";q=600;w=60"), "{answer:?}");
    // A class behind one address signs in at the same time.
    let class = join_all((0..30).map(|_| {
        let client = world.client(0);
        async move {
            let body = json!({ "username": "ada", "password": "correct horse" });
            client.post(SIGN_IN, body).await.status
        }
    }))
    .await;
    assert!(class.iter().all(|status| *status == 200), "{class:?}");
    // Fewer at once than one address may have connections.
    let client = world.client(0);
    let flood = stream::iter(0..400).map(|n| {
        let client = client.clone();
        async move { sign_in(&client, &format!("nobody-{n}")).await.status }
    });
    let flood: Vec<u16> = flood.buffer_unordered(100).collect().await;
    let refused = flood.iter().filter(|status| **status == 429).count();
    assert!(refused > 100, "of 400 {refused} were refused");
    // Whoever is signed in goes on.
    assert_eq!(ada.get("/api/v2/user/instance").await.status, 200);

    let log = std::fs::read_to_string(&world.replicas[0].log).unwrap();
    assert!(log.contains("sign-in failed client=127.0.0.1"), "{log}");
    assert!(!log.contains("nobody-") && !log.contains("battery staple"), "{log}");
}

#[tokio::test]
async fn rate_limits_malformed_stop_the_server_with_the_reason() {
    let world = World::start(0).await;
    let mut env = world.server_env();
    env.push(("DOCKHOST_RATE_LIMITS", "login=5/m".to_owned()));
    env.push(("DOCKHOST_TRUSTED_PROXIES", "balancer".to_owned()));
    let output = crate::harness::run(world.data.path(), &["serve"], &env).await;
    assert_eq!(output.code, 2, "{output:?}");
    for text in ["there is no endpoint `login`", "DOCKHOST_TRUSTED_PROXIES=\"balancer\": it must be an address"] {
        assert!(output.err.contains(text), "{text}: {output:?}");
    }
}
