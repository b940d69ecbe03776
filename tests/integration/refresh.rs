//! Sessions with refresh tokens, on several replicas.

use std::time::Instant;

use dockhost_domain::session::GRACE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{Topology, World, wait_until};

const REFRESH: &str = "/api/v2/user/refresh";

async fn sign_in(world: &World, replica: usize, refresh: &str) -> Answer {
    let body = json!({ "username": "ada", "password": "correct horse", "refresh": refresh });
    let answer = world.client(replica).post("/api/v2/user/signin", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

async fn refresh(world: &World, replica: usize, token: &str) -> Answer {
    world.client(replica).post(REFRESH, json!({ "refreshToken": token })).await
}

fn text(answer: &Answer, member: &str) -> String {
    answer.data()[member].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn client(world: &World, answer: &Answer) -> Client {
    world.client(0).with_token(&text(answer, "accessToken"))
}

/// Waits until every replica refuses queries with an access token.
async fn wait_until_refused(world: &World, client: &Client) {
    for replica in &world.replicas {
        let at = client.at(&replica.url);
        wait_until("the access token is refused", DEADLINE, async || {
            let answer = at.get("/api/v2/user/instance").await;
            if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn refresh_of_one_token_on_all_replicas_at_once_gives_one_next_token() {
    let world = World::on(Topology::THREE, 3, &[]).await;
    world.user("ada").await;
    let signed_in = sign_in(&world, 0, "body").await;
    let mut token = text(&signed_in, "refreshToken");
    for _ in 0..5 {
        let answers = futures::future::join_all((0..9).map(|n| refresh(&world, n % 3, &token))).await;
        let next = text(&answers[0], "refreshToken");
        for answer in &answers {
            assert_eq!((answer.status, text(answer, "refreshToken")), (200, next.clone()), "{answer:?}");
        }
        assert_ne!(next, token);
        for answer in &answers {
            assert_eq!(client(&world, answer).get("/api/v2/user/me").await.status, 200);
        }
        token = next;
    }
    let events = world.events_on("dockhost.event.session.*").await;
    assert_eq!(events.into_values().collect::<Vec<_>>(), [1 + 1 + 5], "the sign-up, the sign-in and each refresh");
    world.check_log().await;
    world.verify().await;
}

/// A thief and the user have the same token; whoever comes second is not the one who got the next token.
#[tokio::test]
async fn refresh_token_that_was_spent_ends_the_session_on_all_replicas_after_the_grace() {
    let world = World::on(Topology::THREE, 2, &[]).await;
    world.user("ada").await;
    let (signed_in, other) = (sign_in(&world, 0, "body").await, sign_in(&world, 0, "body").await);
    let first = text(&signed_in, "refreshToken");
    let refreshed = refresh(&world, 0, &first).await;
    let spent_at = Instant::now();
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    // The answer was lost.
    let again = refresh(&world, 1, &first).await;
    assert_eq!(text(&again, "refreshToken"), text(&refreshed, "refreshToken"), "{again:?}");
    wait_until("the grace is over", GRACE + DEADLINE, async || {
        if spent_at.elapsed() <= GRACE { Err("the token was spent a moment ago") } else { Ok(()) }
    })
    .await;
    let reused = refresh(&world, 1, &first).await;
    assert_eq!((reused.status, reused.code()), (401, "refresh_token_reused"), "{reused:?}");
    for replica in [0, 1] {
        let valid = refresh(&world, replica, &text(&refreshed, "refreshToken")).await;
        assert_eq!((valid.status, valid.code()), (401, "invalid_refresh_token"), "{valid:?}");
    }
    wait_until_refused(&world, &client(&world, &refreshed)).await;
    wait_until_refused(&world, &client(&world, &signed_in)).await;
    assert_eq!(client(&world, &other).get("/api/v2/user/me").await.status, 200, "another session goes on");
    world.check_log().await;
    world.verify().await;
}

#[tokio::test]
async fn refresh_after_the_session_ended_in_any_way_is_refused_on_all_replicas() {
    let world = World::on(Topology::THREE, 2, &[]).await;
    let ada = world.user("ada").await;
    let refused = async |token: &str| {
        for replica in [1, 0] {
            let answer = refresh(&world, replica, token).await;
            assert_eq!((answer.status, answer.code()), (401, "invalid_refresh_token"), "{answer:?}");
        }
    };
    // A sign-out with the cookie of a browser, whose refresh token has been used meanwhile.
    let signed_in = sign_in(&world, 0, "cookie").await;
    let cookie = format!("refreshToken={}", signed_in.cookie("refreshToken").unwrap());
    let refreshed = world.client(1).send(Method::POST, REFRESH, &[("cookie", &cookie)], None).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let access = format!("accessToken={}", refreshed.cookie("accessToken").unwrap());
    let out = world.client(0).send(Method::POST, "/api/v2/user/signout", &[("cookie", &access)], None).await;
    assert_eq!((out.status, out.cookie("refreshToken").as_deref()), (200, Some("")), "{out:?}");
    refused(&refreshed.cookie("refreshToken").unwrap()).await;
    // The other sessions of a user who changes their password.
    let (kept, ended) = (sign_in(&world, 0, "body").await, sign_in(&world, 1, "body").await);
    let body = json!({ "currentPassword": "correct horse", "newPassword": "battery staple" });
    let changed = client(&world, &kept).put("/api/v2/user/me/password", body).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    refused(&text(&ended, "refreshToken")).await;
    let next = refresh(&world, 1, &text(&kept, "refreshToken")).await;
    assert_eq!(next.status, 200, "{next:?}");
    // One session that is revoked from the list, which shows that it lives longer than its access token.
    let sessions = client(&world, &next).get("/api/v2/user/sessions").await;
    let listed = sessions.data().as_array().unwrap();
    let own = listed.iter().find(|session| session["isCurrent"] == true).unwrap_or_else(|| panic!("{sessions:?}"));
    let path = format!("/api/v2/user/sessions/{}", own["id"].as_str().unwrap());
    let removed = client(&world, &next).send(Method::DELETE, &path, &[], None).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    refused(&text(&next, "refreshToken")).await;
    // The documented flow goes on without any of this.
    assert_eq!(ada.get("/api/v2/user/me").await.status, 401, "the changed password ended it");
    let body = json!({ "username": "ada", "password": "battery staple" });
    let plain = world.client(0).post("/api/v2/user/signin", body).await;
    assert_eq!((plain.status, &plain.data()["expiresIn"]), (200, &Value::Null), "{plain:?}");
    assert_eq!(client(&world, &plain).get("/api/v2/user/me").await.status, 200);
    world.check_log().await;
    world.verify().await;
}
