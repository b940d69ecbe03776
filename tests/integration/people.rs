//! What administrators do with people's accounts, on several replicas.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{ADMIN, ADMIN_PASSWORD, Topology, World, wait_until};

const INSTANCE: &str = "/api/v2/user/instance";

async fn sign_in(world: &World, replica: usize, name: &str, password: &str) -> Answer {
    world.client(replica).post("/api/v2/user/signin", json!({ "username": name, "password": password })).await
}

async fn id_of(client: &Client) -> String {
    client.get("/api/v2/user/me").await.data()["id"].as_str().unwrap().to_owned()
}

/// The only instance that an administrator sees.
async fn instance(admin: &Client) -> Value {
    admin.get("/api/v2/admin/instances").await.data()["items"][0].clone()
}

async fn wait_for_status(admin: &Client, status: &str) {
    wait_until("the instance has its status", DEADLINE, async || {
        let shown = instance(admin).await;
        if shown["status"] == status { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}

/// Waits until every replica refuses commands and queries with a token.
async fn wait_until_refused(world: &World, client: &Client) {
    for replica in &world.replicas {
        let at = client.at(&replica.url);
        wait_until("the token is refused", DEADLINE, async || {
            let command = at.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
            let query = at.get(INSTANCE).await;
            if (command.status, query.status) == (401, 401) { Ok(()) } else { Err(format!("{command:?} {query:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn disabled_user_is_signed_out_everywhere_and_their_instances_are_stopped() {
    let mut world = World::on(Topology::THREE, 3, &ADMIN).await;
    world.add_agent("alpha", 5).await;
    let (admin, ada) = (world.admin().await, world.user("ada").await);
    let id = id_of(&ada).await;
    assert_eq!(ada.create().await.status, 201);

    let disabled = admin.post(&format!("/api/v2/admin/users/{id}/disable"), json!({ "reason": "Over." })).await;
    assert_eq!((disabled.status, &disabled.data()["state"]), (200, &json!("disabled")), "{disabled:?}");
    wait_until_refused(&world, &ada).await;
    for replica in 0..world.replicas.len() {
        let refused = sign_in(&world, replica, "ada", "correct horse").await;
        assert_eq!((refused.status, refused.code()), (403, "account_disabled"), "{refused:?}");
    }
    wait_for_status(&admin, "stopped").await;
    assert_eq!(instance(&admin).await["owner"]["username"], "ada", "it is shown");

    let enabled = admin.post(&format!("/api/v2/admin/users/{id}/enable"), json!({})).await;
    assert_eq!((enabled.status, &enabled.data()["state"]), (200, &json!("active")), "{enabled:?}");
    let signed_in = sign_in(&world, 1, "ada", "correct horse").await;
    let again = world.client(2).with_token(signed_in.data()["accessToken"].as_str().unwrap());
    let name = instance(&admin).await["name"].clone();
    let resumed = again.put(&format!("{INSTANCE}/resume"), json!({ "instanceId": name })).await;
    assert_eq!((resumed.status, &resumed.data()["status"]), (200, &json!("running")), "{resumed:?}");
    wait_until_refused(&world, &ada).await;
    world.check_log().await;
    world.verify().await;
}

/// The reaction begins after a restart, too.
#[tokio::test]
async fn disabled_user_whose_server_is_killed_has_their_instances_stopped_by_the_next_one() {
    let mut world = World::on(Topology::ONE, 1, &ADMIN).await;
    world.add_agent("alpha", 5).await;
    let (admin, ada) = (world.admin().await, world.user("ada").await);
    let id = id_of(&ada).await;
    assert_eq!(ada.create().await.status, 201);
    let path = format!("/api/v2/admin/users/{id}/disable");
    let left = admin.post(&path, json!({ "instances": "leave" })).await;
    assert_eq!(left.status, 200, "{left:?}");
    assert_eq!(instance(&admin).await["status"], "running");
    let stopped = admin.post(&path, json!({ "instances": "stop" })).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    world.kill_replica(0).await;
    world.restart_replica(0).await;
    wait_for_status(&admin.at(&world.replicas[0].url), "stopped").await;
    world.verify().await;
}

#[tokio::test]
async fn sessions_ended_by_an_administrator_are_refused_on_all_replicas() {
    let world = World::on(Topology::THREE, 3, &ADMIN).await;
    let (admin, ada) = (world.admin().await, world.user("ada").await);
    let id = id_of(&ada).await;
    let ended = admin.send(Method::DELETE, &format!("/api/v2/admin/users/{id}/sessions"), &[], None).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    wait_until_refused(&world, &ada).await;
    assert_eq!(sign_in(&world, 2, "ada", "correct horse").await.status, 200);
    assert_eq!(admin.get("/api/v2/admin/users").await.status, 200);
}

/// Replicas that have not read of the new quota decide on the state before it, and their appends conflict.
#[tokio::test]
async fn quota_set_for_a_user_holds_under_creates_on_all_replicas() {
    const QUOTA: usize = 2;
    let mut world = World::on(Topology::THREE, 3, &ADMIN).await;
    world.add_agent("alpha", 40).await;
    let (admin, ada) = (world.admin().await, world.user("ada").await);
    let path = format!("/api/v2/admin/users/{}/quota", id_of(&ada).await);
    let set = admin.put(&path, json!({ "instances": QUOTA })).await;
    assert_eq!((set.status, &set.data()["isDefault"]), (200, &json!(false)), "{set:?}");
    let clients: Vec<_> = world.replicas.iter().map(|replica| ada.at(&replica.url)).collect();
    let create = |client: &Client| {
        let client = client.clone();
        async move { client.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await }
    };
    let answers = futures::future::join_all((0..12).map(|n| create(&clients[n % 3]))).await;
    let created = answers.iter().filter(|answer| answer.status == 202).count();
    let refused = answers.iter().filter(|answer| answer.code() == "quota_exceeded").count();
    assert_eq!((created, refused), (QUOTA, answers.len() - QUOTA), "{answers:?}");
    let quota = admin.get(&path).await.data().clone();
    let found = ["instances", "isDefault", "used", "cpu"].map(|member| quota[member].clone());
    assert_eq!(found, [json!(QUOTA), json!(false), json!(QUOTA), json!(null)], "{quota}");
    world.check_log().await;
    world.verify().await;
}

#[tokio::test]
async fn invitation_used_on_all_replicas_at_once_creates_one_account_with_its_quota() {
    let settings = [ADMIN[0], ADMIN[1], ("DOCKHOST_SIGNUP", "invite")];
    let world = World::on(Topology::THREE, 3, &settings).await;
    let admin = world.admin().await;
    let invitation = admin.post("/api/v2/admin/invitations", json!({ "maxInstances": 1 })).await;
    let token = invitation.data()["token"].clone();
    let sign_up = async |n: usize, invitation: &Value| {
        let name = format!("user-{n}");
        let email = format!("{name}@example.org");
        let body = json!({ "username": name, "email": email, "password": ADMIN_PASSWORD, "invitation": invitation });
        world.client(n % 3).post("/api/v2/user/signup", body).await
    };
    assert_eq!(sign_up(0, &Value::Null).await.code(), "invitation_required");
    let answers = futures::future::join_all((0..6).map(|n| sign_up(n, &token))).await;
    let (created, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(created.len(), 1, "{answers:?}");
    assert!(refused.iter().all(|answer| answer.code() == "invalid_invitation"), "{refused:?}");
    let user = created[0].data();
    let me = world.client(1).with_token(user["accessToken"].as_str().unwrap()).get("/api/v2/user/me").await;
    assert_eq!(me.data()["maxInstances"], 1, "{me:?}");
    let listed = admin.get("/api/v2/admin/invitations").await;
    let shown = &listed.data()["items"][0];
    assert_eq!((&shown["status"], &shown["userId"]), (&json!("used"), &user["user"]["id"]));
    world.check_log().await;
    world.verify().await;
}

/// Members are limited one by one. A replica counts by the group as soon as it has read of it.
#[tokio::test]
async fn quota_of_a_group_holds_for_each_member_under_creates_on_all_replicas() {
    const QUOTA: usize = 2;
    let mut world = World::on(Topology::THREE, 3, &ADMIN).await;
    world.add_agent("alpha", 40).await;
    let (admin, members) = (world.admin().await, [world.user("ada").await, world.user("eve").await]);
    let group = admin.post("/api/v2/admin/groups", json!({ "name": "Biology 7b", "maxInstances": QUOTA })).await;
    assert_eq!(group.status, 201, "{group:?}");
    for member in &members {
        let path = format!("/api/v2/admin/users/{}/group", id_of(member).await);
        let put = admin.put(&path, json!({ "groupId": group.data()["id"] })).await;
        assert_eq!((put.status, &put.data()["group"]["name"]), (200, &json!("Biology 7b")), "{put:?}");
    }
    let create = |member: &Client, n: usize| {
        let client = member.at(&world.replicas[n % 3].url);
        async move { client.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await }
    };
    for member in &members {
        for replica in &world.replicas {
            wait_until("the replica knows of the group", DEADLINE, async || {
                let me = member.at(&replica.url).get("/api/v2/user/me").await;
                if me.data()["maxInstances"] == QUOTA { Ok(()) } else { Err(format!("{me:?}")) }
            })
            .await;
        }
    }
    let all = members.iter().flat_map(|member| (0..12).map(move |n| (member, n)));
    let answers = futures::future::join_all(all.map(|(member, n)| create(member, n))).await;
    for answers in answers.chunks(12) {
        let created = answers.iter().filter(|answer| answer.status == 202).count();
        let refused = answers.iter().filter(|answer| answer.code() == "quota_exceeded").count();
        assert_eq!((created, refused), (QUOTA, answers.len() - QUOTA), "{answers:?}");
    }
    world.check_log().await;
    world.verify().await;
}

/// A replica stores its last counts when it ends.
#[tokio::test]
async fn refusals_of_a_replica_are_in_the_audit_of_the_others() {
    let mut world = World::on(Topology::ONE, 2, &ADMIN).await;
    let (admin, ada) = (world.admin().await, world.user("ada").await);
    for _ in 0..2 {
        assert_eq!(sign_in(&world, 1, "ada", "wrong horse").await.status, 401);
    }
    assert_eq!(ada.at(&world.replicas[1].url).get("/api/v2/admin/users").await.status, 403);
    assert_eq!(world.client(1).get("/api/v2/admin/users").await.status, 401);
    let id = id_of(&ada).await;
    world.stop_replica(1).await;
    let counts = wait_until("the counts are in the audit", DEADLINE, async || {
        let audit = admin.get("/api/v2/admin/audit?type=refusals").await;
        audit.data()["items"][0]["data"]["counts"].as_array().cloned().ok_or_else(|| format!("{audit:?}"))
    })
    .await;
    let count = |kind: &str| {
        let of_kind = counts.iter().filter(|one| one["kind"] == kind);
        of_kind.map(|one| (one["count"].as_u64().unwrap(), one["source"].clone())).collect::<Vec<_>>()
    };
    let local = json!({ "network": "127.0.0.0/24" });
    assert_eq!(count("sign-in"), [(2, local.clone())]);
    assert_eq!(count("unauthorized"), [(1, local)]);
    assert_eq!(count("forbidden"), [(1, json!({ "user": id }))]);
    world.check_log().await;
    world.verify().await;
}
