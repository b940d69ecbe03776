//! The first administrator, and changes of roles on several replicas.

use reqwest::Method;
use serde_json::json;

use crate::harness::http::Client;
use crate::harness::{ADMIN, ADMIN_PASSWORD as PASSWORD, CommandOutput, Topology, World, run, run_with_input};

/// Signs in at a replica; returns the client and the user's id.
async fn sign_in(world: &World, replica: usize, name: &str, password: &str) -> (Client, String) {
    let body = json!({ "username": name, "password": password });
    let answer = world.client(replica).post("/api/v2/user/signin", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.data()["accessToken"].as_str().unwrap();
    (world.client(replica).with_token(token), answer.data()["user"]["id"].as_str().unwrap().to_owned())
}

/// Asks again while nothing was stored because the broker did not answer in time, as it may on a busy machine.
async fn set_role(client: &Client, user: &str, role: &str) -> (u16, String) {
    const MAX_ATTEMPTS: usize = 5;
    for attempt in 1.. {
        let answer = client.put(&format!("/api/v2/admin/users/{user}/role"), json!({ "role": role })).await;
        if answer.code() != "broker_unavailable" || attempt == MAX_ATTEMPTS {
            return (answer.status, answer.code().to_owned());
        }
    }
    unreachable!("the last attempt returns")
}

/// The names of all administrators, as of the last event.
async fn administrators(client: &Client) -> Vec<String> {
    let position = client.get("/health").await.body["log"]["position"].as_u64().unwrap();
    let any = client.get("/api/v2/admin/users?role=admin").await;
    let shown = any.header("dockhost-position").unwrap_or_else(|| panic!("{any:?}")).to_owned();
    let incarnation = shown.rsplit_once('.').unwrap().0;
    let at = format!("{incarnation}.{position}");
    let answer = client.send(Method::GET, "/api/v2/admin/users?role=admin", &[("dockhost-position", &at)], None).await;
    let items = answer.data()["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    items.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

/// Both find the other one still there when they decide, unless the subject of the set of administrators orders them.
#[tokio::test]
async fn administrators_who_take_the_role_from_each_other_at_once_leave_one() {
    const ROUNDS: usize = 12;
    let world = World::on(Topology::THREE, 3, &ADMIN).await;
    // Each of the replicas was started with the first administrator's name.
    let (admin, admin_id) = sign_in(&world, 0, "admin", PASSWORD).await;
    world.user("ada").await;
    let (ada, ada_id) = sign_in(&world, 1, "ada", "correct horse").await;
    assert_eq!(set_role(&admin, &ada_id, "admin").await.0, 200);
    for round in 0..ROUNDS {
        let (at, other) = (&world.replicas[round % 3].url, &world.replicas[(round + 1) % 3].url);
        let (admin, ada) = (admin.at(at), ada.at(other));
        let (first, second) = tokio::join!(set_role(&admin, &ada_id, "user"), set_role(&ada, &admin_id, "user"));
        let survivor = match (first.0, second.0) {
            (200, 403 | 409) => &admin,
            (403 | 409, 200) => &ada,
            other => panic!("round {round}: {other:?}: {first:?} {second:?}"),
        };
        let refusal = if first.0 == 200 { second } else { first };
        assert!(["forbidden", "last_administrator"].contains(&refusal.1.as_str()), "{refusal:?}");
        assert_eq!(administrators(survivor).await.len(), 1, "round {round}");
        for id in [&admin_id, &ada_id] {
            assert_eq!(set_role(survivor, id, "admin").await.0, 200, "round {round}");
        }
    }
    world.check_log().await;
    world.verify().await;
}

async fn create(world: &World, args: &[&str], input: &str) -> CommandOutput {
    let args = [&["admin", "create"], args].concat();
    run_with_input(world.data.path(), &args, &world.server_env(), input).await
}

#[tokio::test]
async fn admin_create_makes_administrators_and_no_user_by_accident() {
    let world = World::start(1).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.get("/api/v2/admin/users").await.code(), "forbidden");

    // Nothing is done with a name that someone else has, or with a password that is refused.
    for (args, input, problem) in [
        (&["ada"][..], "battery staple\n", "the username is taken"),
        (&["root"], "short\n", "8 to 128 characters"),
        (&["root"], "sunshine\n", "most common"),
        (&["root"], "", "standard input"),
        (&["nobody-here", "--existing"], "", "there is no user"),
        (&["root", "--email", "ada@example.org"], "battery staple\n", "the email address is taken"),
    ] {
        let refused = create(&world, args, input).await;
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert!(refused.err.contains(problem), "{args:?}: {refused:?}");
        assert!(input.trim().is_empty() || !refused.err.contains(input.trim()), "shows the password: {refused:?}");
    }

    // A name that nobody can sign up with.
    let created = create(&world, &["root", "--email", "root@example.org"], "battery staple\nsecond line\n").await;
    assert_eq!((created.code, created.err.contains(PASSWORD)), (0, false), "{created:?}");
    let (root, _) = sign_in(&world, 0, "root@example.org", PASSWORD).await;
    assert_eq!(administrators(&root).await, ["root"]);
    let promoted = create(&world, &["ada", "--existing"], "").await;
    assert_eq!(promoted.code, 0, "{promoted:?}");
    // With the token that she had before.
    assert_eq!(administrators(&ada).await, ["ada", "root"]);

    // The last administrator is not erased.
    let erase = |name: &'static str| {
        let env = world.server_env();
        let directory = world.data.path().to_owned();
        async move { run(&directory, &["erase-user", "--yes", name], &env).await }
    };
    assert_eq!(erase("root").await.code, 0);
    assert_eq!(administrators(&ada).await, ["ada"]);
    let refused = erase("ada").await;
    assert!(refused.code == 1 && refused.err.contains("last administrator"), "{refused:?}");
    assert_eq!(administrators(&ada).await, ["ada"]);
    world.verify().await;
}

#[tokio::test]
async fn serve_with_the_name_of_a_user_for_the_first_administrator_is_refused() {
    let mut world = World::start(1).await;
    world.user("boss").await;
    world.stop_replica(0).await;
    let with = |name: &str| {
        let mut env = world.server_env();
        env.extend([("DOCKHOST_ADMIN_USERNAME", name.to_owned()), ("DOCKHOST_ADMIN_PASSWORD", PASSWORD.to_owned())]);
        env
    };
    let refused = run(world.data.path(), &["serve"], &with("boss")).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("another user has the name of DOCKHOST_ADMIN_USERNAME"), "{refused:?}");
    assert!(!refused.err.contains(PASSWORD), "{refused:?}");
    // With another name it starts, and from then on the name does not matter.
    for name in ["chief", "boss"] {
        world.set("DOCKHOST_ADMIN_USERNAME", name);
        world.set("DOCKHOST_ADMIN_PASSWORD", PASSWORD);
        world.restart_replica(0).await;
        let (chief, _) = sign_in(&world, 0, "chief", PASSWORD).await;
        assert_eq!(administrators(&chief).await, ["chief"]);
    }
}
