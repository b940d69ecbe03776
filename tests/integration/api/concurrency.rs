//! Concurrent requests through three replicas: unique names, idempotency keys, quotas and capacity hold.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client, SSH_KEY};
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, Topology, World, wait_until};
use crate::replicas::{client_per_replica, on_both};

const INSTANCE: &str = "/api/v2/user/instance";

/// Sends this many concurrent sign-ups, to each replica in turn.
async fn sign_ups(world: &World, count: usize, names: impl Fn(usize) -> (String, String)) -> Vec<Answer> {
    let clients: Vec<Client> = (0..world.replicas.len()).map(|replica| world.client(replica)).collect();
    join_all((0..count).map(|n| {
        let (username, email) = names(n);
        let body =
            json!({ "username": username, "email": email, "password": "correct horse", "sshPublicKey": SSH_KEY });
        let client = clients[n % clients.len()].clone();
        async move { client.post("/api/v2/user/signup", body).await }
    }))
    .await
}

fn count(answers: &[Answer], status: u16, code: &str) -> usize {
    answers.iter().filter(|answer| answer.status == status && answer.code() == code).count()
}

/// The status and code of each answer, for assertion messages.
fn summary(answers: &[Answer]) -> Vec<String> {
    answers.iter().map(|answer| format!("{} {}", answer.status, answer.code())).collect()
}

on_both!(
    sign_up_concurrent_same_username_one_succeeds,
    sign_up_concurrent_same_email_one_succeeds,
    create_concurrent_same_idempotency_key_creates_one_instance,
    create_concurrent_on_all_replicas_keeps_the_quota,
);

async fn sign_up_concurrent_same_username_one_succeeds(topology: Topology) {
    let world = World::on(topology, 3, &[]).await;
    let answers = sign_ups(&world, 64, |n| ("ada".to_owned(), format!("ada{n}@example.org"))).await;
    assert_eq!(count(&answers, 201, ""), 1, "{:?}", summary(&answers));
    assert_eq!(count(&answers, 409, "username_taken"), 63, "{:?}", summary(&answers));
    let accounts = world.events_on("dockhost.event.account.>").await;
    assert_eq!(accounts.values().sum::<usize>(), 1, "{accounts:?}");
    let claims = world.events_on("dockhost.event.claim.>").await;
    assert_eq!(claims.values().sum::<usize>(), 2, "a refused sign-up claims no email address: {claims:?}");
    world.verify().await;
}

async fn sign_up_concurrent_same_email_one_succeeds(topology: Topology) {
    let world = World::on(topology, 3, &[]).await;
    let spelling = |n: usize| if n.is_multiple_of(3) { "ada@example.org" } else { "Ada@Example.ORG" };
    let answers = sign_ups(&world, 64, |n| (format!("ada{n}"), spelling(n).to_owned())).await;
    assert_eq!(count(&answers, 201, ""), 1, "{:?}", summary(&answers));
    assert_eq!(count(&answers, 409, "email_taken"), 63, "{:?}", summary(&answers));
    let accounts = world.events_on("dockhost.event.account.>").await;
    assert_eq!(accounts.values().sum::<usize>(), 1, "{accounts:?}");
    // A refused sign-up left its username free.
    let lost = answers.iter().position(|answer| answer.status == 409).unwrap();
    assert_eq!(world.client(1).sign_up(&format!("ada{lost}")).await.status, 201);
}

/// Creates with this `Idempotency-Key`.
async fn keyed(client: &Client, key: &str, body: Value) -> Answer {
    client.json(Method::POST, INSTANCE, &[("idempotency-key", key)], body).await
}

fn instance_ids(answers: &[Answer]) -> BTreeSet<&str> {
    answers.iter().filter_map(|answer| answer.data()["instanceId"].as_str()).collect()
}

async fn create_concurrent_same_idempotency_key_creates_one_instance(topology: Topology) {
    let mut world = World::on(topology, 3, &[]).await;
    // Fewer places than requests: a repeated request must not reserve one.
    let alpha = world.add_agent("alpha", 2).await;
    let ada = client_per_replica(&world, "ada").await;
    let answers = join_all((0..50).map(|n| keyed(&ada[n % 3], "once", json!({})))).await;
    assert_eq!(count(&answers, 201, ""), 50, "{:?}", summary(&answers));
    let ids = instance_ids(&answers);
    assert_eq!(ids.len(), 1, "{ids:?}");
    let which = json!({ "instanceId": ids.first().unwrap() });
    assert_eq!(world.containers(alpha).ever.len(), 1);

    for client in &ada {
        let other = keyed(client, "once", json!({ "name": "other" })).await;
        assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"), "{other:?}");
    }

    world.restart_replica(1).await;
    let again = keyed(&ada[1], "once", json!({})).await;
    assert_eq!((again.status, &again.data()["instanceId"]), (201, &which["instanceId"]), "{again:?}");

    let deleted = ada[0].delete(INSTANCE, which.clone()).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let after = keyed(&ada[0], "once", json!({})).await;
    assert_eq!((after.status, &after.data()["instanceId"]), (201, &which["instanceId"]), "{after:?}");
    assert_eq!(after.data()["status"], "deleted", "the instance as it is now");
    let made = world.containers(alpha);
    assert_eq!((made.ever.len(), made.now.len()), (1, 0), "{made:?}");
    world.verify().await;
}

/// The first request is found in the log, whichever replica carried it out.
#[tokio::test]
async fn post_repeated_on_two_replicas_is_carried_out_once() {
    const GROUPS: &str = "/api/v2/admin/groups";
    let mut world = World::on(Topology::ONE, 2, &ADMIN).await;
    let admin = world.admin().await;
    let admins = [admin.clone(), admin.at(&world.replicas[1].url)];
    let create = async |client: &Client, name: &str| {
        client.json(Method::POST, GROUPS, &[("idempotency-key", "once")], json!({ "name": name })).await
    };
    let answers = join_all((0..20).map(|n| create(&admins[n % 2], "chemistry-8a"))).await;
    // A replica refuses the repeats that arrive while it carries out the first one.
    let (created, in_flight) = (count(&answers, 201, ""), count(&answers, 409, "request_in_flight"));
    assert!(created > 0 && created + in_flight == answers.len(), "{:?}", summary(&answers));
    let ids: BTreeSet<_> = answers.iter().filter_map(|answer| answer.data()["id"].as_str()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");

    world.restart_replica(1).await;
    let again = create(&admins[1], "chemistry-8a").await;
    assert_eq!((again.status, again.data()["id"].as_str()), (201, ids.first().copied()), "{again:?}");
    let other = create(&admins[1], "chemistry-8b").await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"), "{other:?}");
    let groups = admin.get(GROUPS).await;
    assert_eq!(groups.data()["items"].as_array().map(Vec::len), Some(1), "{groups:?}");
}

async fn create_concurrent_on_all_replicas_keeps_the_quota(topology: Topology) {
    let mut world = World::on(topology, 3, &[("DOCKHOST_MAX_INSTANCES_PER_USER", "5")]).await;
    // Few places more than the quota: a refused request must not keep one.
    let alpha = world.add_agent("alpha", 7).await;
    let ada = client_per_replica(&world, "ada").await;
    let answers = join_all((0..100).map(|n| ada[n % 3].create())).await;
    assert_eq!(count(&answers, 201, ""), 5, "{:?}", summary(&answers));
    assert_eq!(count(&answers, 403, "quota_exceeded"), 95, "{:?}", summary(&answers));
    for refused in answers.iter().filter(|answer| answer.status == 403) {
        let details = &refused.body["error"]["details"];
        assert_eq!((&details["limit"], &details["used"]), (&json!(5), &json!(5)), "{refused:?}");
    }
    assert_eq!(world.containers(alpha).ever.len(), 5);
    let names: BTreeSet<_> = answers.iter().filter_map(|answer| answer.data()["name"].as_str()).collect();
    assert_eq!(names.len(), 5, "names are unique: {names:?}");

    let first = instance_ids(&answers).first().map(|id| json!({ "instanceId": id })).unwrap();
    assert_eq!(ada[0].delete(INSTANCE, first).await.status, 200);
    let next = [ada[1].create().await, ada[0].create().await];
    assert_eq!(summary(&next), ["201 ", "403 quota_exceeded"]);
    world.verify().await;
}

#[tokio::test]
async fn create_concurrent_never_exceeds_a_backends_capacity() {
    let mut world = World::start(2).await;
    let alpha = world.add_agent("alpha", 8).await;
    let users = join_all((0..20).map(|n| {
        let world = &world;
        async move { world.user(&format!("user{n}")).await.at(&world.replicas[n % 2].url) }
    }))
    .await;
    let answers = join_all(users.iter().map(Client::create)).await;
    assert_eq!(count(&answers, 201, ""), 8, "{:?}", summary(&answers));
    let refused = count(&answers, 503, "no_capacity") + count(&answers, 503, "operation_failed");
    assert_eq!(refused, 12, "{:?}", summary(&answers));
    let containers = world.containers(alpha);
    assert_eq!((containers.now.len(), containers.most), (8, 8), "{containers:?}");

    // Each freed place can be used again on either replica: refused requests keep none.
    let lists = join_all(users.iter().map(|user| user.get(INSTANCE))).await;
    let mut freed = 0;
    for (user, list) in users.iter().zip(&lists) {
        for instance in list.data().as_array().unwrap() {
            freed += usize::from(instance["status"] == "running");
            let which = json!({ "instanceId": instance["instanceId"] });
            let deleted = user.delete(INSTANCE, which).await;
            assert_eq!(deleted.status, 200, "{deleted:?}");
        }
    }
    assert_eq!(freed, 8);
    for user in users.iter().take(8) {
        wait_until("a freed place is used again", DEADLINE, async || {
            let created = user.create().await;
            if created.status == 201 { Ok(()) } else { Err(format!("{created:?}")) }
        })
        .await;
    }
    assert_eq!(world.containers(alpha).most, 8);
    world.verify().await;
}
