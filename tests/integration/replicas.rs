//! Several replicas are one server: what one wrote another shows, what one revoked another refuses, and when one goes
//! (or the broker), the rest goes on.

use std::time::Duration;

use dockhost::dev::process::Signal;
use reqwest::Method;
use serde_json::json;

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";
const POSITION: &str = "dockhost-position";
/// A survivor leads within this.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// A session that ended is refused everywhere within this.
const REVOKED: Duration = Duration::from_secs(1);

async fn list_after(client: &Client, position: &str) -> Answer {
    client.send(Method::GET, INSTANCE, &[(POSITION, position)], None).await
}

/// A create that is only asked for.
async fn ask(client: &Client) -> Answer {
    let answer = client.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

fn has(list: &Answer, created: &Answer) -> bool {
    let id = &created.data()["instanceId"];
    list.data().as_array().into_iter().flatten().any(|instance| instance["instanceId"] == *id)
}

async fn create_within(client: &Client, what: &str, deadline: Duration) {
    wait_until(what, deadline, async || {
        let created =
            client.try_send(Method::POST, INSTANCE, &[("content-type", "application/json")], Some(b"{}".into()));
        match created.await {
            Ok(answer) if answer.status == 201 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn what_one_wrote_another_shows() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 50).await;
    let ada = world.user("ada").await;
    for n in 0..20 {
        let (one, other) = (ada.at(&world.replicas[n % 2].url), ada.at(&world.replicas[(n + 1) % 2].url));
        let created = ask(&one).await;
        let list = list_after(&other, created.header(POSITION).unwrap()).await;
        assert!(has(&list, &created), "{created:?} is not in {list:?}");
    }
    // A position says how far the log was, whichever kind of event stands there.
    let signin = json!({ "username": "ada", "password": "correct horse" });
    let created = ask(&ada).await;
    let signed_in = world.client(0).post("/api/v2/user/signin", signin).await;
    let list = list_after(&ada.at(&world.replicas[1].url), signed_in.header(POSITION).unwrap()).await;
    assert!(has(&list, &created), "{created:?} is not in {list:?}");

    let position = signed_in.header(POSITION).unwrap();
    for wrong in ["another.5", "5", "", &format!("{position}x")] {
        let refused = list_after(&ada, wrong).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_header"), "{wrong}: {refused:?}");
    }
    let ahead = format!("{}.999999999", position.rsplit_once('.').unwrap().0);
    let refused = list_after(&ada, &ahead).await;
    assert_eq!((refused.status, refused.code()), (503, "not_caught_up"), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    world.verify().await;
}

#[tokio::test]
async fn what_one_revoked_another_refuses() {
    let world = World::start(2).await;
    let here = world.user("ada").await;
    let there = here.at(&world.replicas[1].url);
    assert_eq!(there.get(INSTANCE).await.status, 200);
    assert_eq!(here.post("/api/v2/user/signout", json!({})).await.status, 200);
    assert_eq!(here.get(INSTANCE).await.status, 401);
    wait_until("the other replica refuses the session", REVOKED, async || {
        let answer = there.get(INSTANCE).await;
        if answer.status == 401 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn when_the_leader_dies_another_takes_over() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 50).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    // Work that the leader has begun is finished by the next.
    let begun = ask(&ada).await;
    let leader = world.leader().await;
    let survivor = ada.at(&world.replicas[1 - leader].url);
    world.kill_replica(leader).await;
    create_within(&survivor, "the survivor creates", TAKE_OVER).await;
    wait_until("what was begun runs", DEADLINE, async || {
        let answer = survivor.get(&format!("{INSTANCE}/{}", begun.data()["instanceId"].as_str().unwrap())).await;
        if answer.data()["status"] == "running" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    world.verify().await;
}

#[tokio::test]
async fn a_leader_that_hangs_does_no_harm_when_it_wakes_up() {
    let mut world = World::start(2).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = world.user("ada").await;
    let leader = world.leader().await;
    let (sleeper, survivor) = (ada.at(&world.replicas[leader].url), ada.at(&world.replicas[1 - leader].url));
    for _ in 0..3 {
        ask(&sleeper).await;
    }
    world.replicas[leader].process.signal(Signal::Stop).await.unwrap();
    create_within(&survivor, "the other replica creates", TAKE_OVER).await;
    world.replicas[leader].process.signal(Signal::Cont).await.unwrap();
    for n in 0..6 {
        ask(if n % 2 == 0 { &sleeper } else { &survivor }).await;
    }
    wait_until("the sleeper knows that it leads no more", DEADLINE, async || {
        if world.replicas[leader].leads() { Err("it thinks that it leads") } else { Ok(()) }
    })
    .await;
    assert_eq!(world.leader().await, 1 - leader);
    for client in [&sleeper, &survivor] {
        wait_until("all instances run", DEADLINE, async || {
            let list = client.get(INSTANCE).await;
            let all = list.data().as_array().cloned().unwrap_or_default();
            let run = all.len() == 10 && all.iter().all(|instance| instance["status"] == "running");
            if run { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
    }
    assert_eq!(world.containers(alpha).ever.len(), 10, "each was made once");
    world.verify().await;
}

#[tokio::test]
async fn without_the_broker_reads_go_on_and_writes_say_so() {
    let mut world = World::start(2).await;
    world.add_agent("alpha", 50).await;
    let ada = world.user("ada").await;
    let both = [ada.clone(), ada.at(&world.replicas[1].url)];
    assert_eq!(ada.create().await.status, 201);
    let before = ada.get(INSTANCE).await;
    assert_eq!(both[1].get(INSTANCE).await.data(), before.data());

    world.nats.kill().await;
    for client in &both {
        wait_until("a write is refused at once", Duration::from_secs(5), async || {
            let refused = client.create().await;
            let said = refused.code() == "broker_unavailable" && refused.header("retry-after").is_some();
            if said { Ok(()) } else { Err(format!("{refused:?}")) }
        })
        .await;
        let list = client.get(INSTANCE).await;
        assert_eq!((list.status, list.data()), (200, before.data()), "{list:?}");
        let health = client.get("/health").await;
        assert_eq!((health.status, &health.body["down"]), (503, &json!(["broker"])), "{health:?}");
        assert_eq!((&health.body["broker"], &health.body["database"]), (&json!("down"), &json!("up")));
    }

    world.nats.restart().await;
    for client in &both {
        create_within(client, "writes go on", DEADLINE).await;
        wait_until("the replica is well", DEADLINE, async || {
            let health = client.get("/health").await;
            if health.status == 200 { Ok(()) } else { Err(format!("{health:?}")) }
        })
        .await;
    }
    world.verify().await;
}
