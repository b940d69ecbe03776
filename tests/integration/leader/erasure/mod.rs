//! Erasing a user releases the names, ends the sessions and instances, destroys the key, and leaves no personal value
//! anywhere. A new leader completes an erasure that another one started.

mod canary;
mod steps;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockhost::broker::streams::KEYS_BUCKET;
use dockhost_projections::store::MongoStore;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Client};
use crate::harness::wait::DEADLINE;
use crate::harness::{CommandOutput, World, run, wait_until};
use canary::{Canaries, contains};

const INSTANCE: &str = "/api/v2/user/instance";
const SIGNUP: &str = "/api/v2/user/signup";
const SIGNIN: &str = "/api/v2/user/signin";

pub async fn dockhost(world: &World, args: &[&str]) -> CommandOutput {
    run(world.data.path(), args, &world.server_env()).await
}

/// A user whose every value contains a unique marker.
struct TestUser {
    marker: &'static str,
}

impl TestUser {
    fn username(&self) -> String {
        format!("{}-username", self.marker)
    }

    fn email(&self) -> String {
        format!("{}.Email@example.org", self.marker)
    }

    fn password(&self) -> String {
        format!("{} password", self.marker)
    }

    /// The base64 part of their SSH key.
    fn key(&self) -> String {
        let mut body = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        let mut own = [7; 32];
        own.iter_mut().zip(self.marker.bytes()).for_each(|(to, from)| *to = from);
        body.extend(own);
        STANDARD.encode(body)
    }

    fn ssh_key(&self) -> String {
        format!("ssh-ed25519 {} {}-comment", self.key(), self.marker)
    }

    /// Forms of all these values.
    fn canaries(&self) -> Canaries {
        let key = self.key();
        // The beginning is the same for all keys.
        Canaries::of(&[self.marker, &self.marker.to_uppercase(), &key[key.len() - 40..]])
    }

    async fn sign_up(&self, client: &Client) -> Answer {
        let body = json!({
            "username": self.username(), "email": self.email(), "password": self.password(), "sshPublicKey": self.ssh_key(),
        });
        client.json(Method::POST, SIGNUP, &[("idempotency-key", &format!("{}-sign-up", self.marker))], body).await
    }

    async fn sign_in(&self, client: &Client, name: &str) -> Answer {
        client.post(SIGNIN, json!({ "username": name, "password": self.password() })).await
    }
}

fn token(answer: &Answer) -> String {
    answer.data()["accessToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

async fn create(user: &Client, name: &str, key: &str) -> Answer {
    user.json(Method::POST, INSTANCE, &[("idempotency-key", key)], json!({ "name": name })).await
}

/// Makes every kind of request with personal values, valid and invalid.
async fn use_everything(world: &World, person: &TestUser, user: &Client) {
    let marker = person.marker;
    let (web, db) = (format!("{marker}-web"), format!("{marker}-db"));
    for name in [&web, &db] {
        let created = create(user, name, &format!("{name}-key")).await;
        assert_eq!(created.status, 201, "{created:?}");
    }
    assert_eq!(user.create().await.status, 201, "with the account's name and key");
    let url = format!("https://{marker}.invalid/{marker}");
    let webhook = user.post("/api/v2/user/webhooks", json!({ "url": url })).await;
    assert_eq!(webhook.status, 201, "{webhook:?}");
    let id = json!({ "instanceId": web });
    assert_eq!(user.put("/api/v2/user/instance/stop", id.clone()).await.status, 200);
    assert_eq!(user.put("/api/v2/user/instance/resume", id).await.status, 200);
    assert_eq!(user.get(&format!("{INSTANCE}/{web}")).await.status, 200);
    let deleted = user.send(Method::DELETE, &format!("{INSTANCE}?instanceId={db}"), &[], None).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");

    for (status, answer) in [
        (404, user.get(&format!("{INSTANCE}/{marker}-nowhere")).await),
        (404, user.get(&format!("/{marker}/nowhere?{marker}={marker}")).await),
        (409, create(user, &web, "another").await),
        (422, create(user, &web.to_uppercase(), "a third").await),
        (400, user.post(INSTANCE, json!({ "sshPublicKey": format!("ssh-rsa {marker}") })).await),
        (422, user.post(INSTANCE, json!({ marker: marker })).await),
        (
            409,
            world
                .client(1)
                .post(
                    SIGNUP,
                    json!({
                        "username": person.username(), "email": person.email(), "password": person.password(),
                    }),
                )
                .await,
        ),
        (
            422,
            world
                .client(1)
                .post(
                    SIGNUP,
                    json!({
                        "username": marker.to_uppercase(), "email": marker, "password": marker,
                    }),
                )
                .await,
        ),
        (401, world.client(1).post(SIGNIN, json!({ "username": person.email(), "password": marker })).await),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let malformed = format!("{{\"username\": \"{marker}");
    let headers = [("content-type", "application/json")];
    assert_eq!(user.send(Method::POST, SIGNUP, &headers, Some(malformed.into_bytes())).await.status, 400);
    assert_eq!(person.sign_in(&world.client(1), &person.email().to_lowercase()).await.status, 200);
}

async fn found_in_database(world: &World, canaries: &Canaries) -> Vec<(String, Value)> {
    let store = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    let all = store.everything().await.unwrap();
    // The collection of a rebuilt model has a version suffix.
    let has = |model: &&str| all.keys().any(|name| name.starts_with(model));
    assert!(["users", "instances", "sessions", "backends"].iter().all(has), "{:?}", all.keys());
    let documents = all.into_iter().flat_map(|(name, documents)| documents.into_iter().map(move |d| (name.clone(), d)));
    documents.filter(|(_, document)| !canaries.found_in(document.to_string().as_bytes()).is_empty()).collect()
}

fn found_in_logs(world: &World, canaries: &Canaries) -> Vec<String> {
    let logs = world.replicas.iter().map(|replica| std::fs::read_to_string(&replica.log).unwrap());
    let lines: Vec<String> = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let shown = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(shown("DEBUG dockhost::"), "the log is not verbose: {lines:#?}");
    lines.into_iter().filter(|line| !canaries.found_in(line.as_bytes()).is_empty()).take(20).collect()
}

#[tokio::test]
async fn erasure_leaves_no_personal_value_anywhere() {
    let verbose = [("DEBUG", "dockhost:*"), ("RUST_LOG", "trace"), ("DOCKHOST_DELETE_WITHIN_MS", "3000")];
    let mut world = World::with(2, &verbose).await;
    world.add_agent("alpha", 50).await;
    let beta = world.add_agent("beta", 50).await;
    let (ada, eve) = (TestUser { marker: "qzadaqz" }, TestUser { marker: "qzeveqz" });
    let canaries = ada.canaries();
    let mut users = Vec::new();
    for person in [&ada, &eve] {
        let answer = person.sign_up(&world.client(0)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let user = world.client(0).with_token(&token(&answer));
        use_everything(&world, person, &user).await;
        users.push((answer.data()["user"]["id"].as_str().unwrap().to_owned(), user));
    }
    let (eves, (adas_id, adas)) = (users.pop().unwrap().1, users.pop().unwrap());
    // The values are found now; otherwise not finding them later would prove nothing.
    let store = world.nats.data.path().to_owned();
    assert!(!canaries.found_below(&store).is_empty(), "assignments of existing instances are not encrypted");
    let models = found_in_database(&world, &canaries).await;
    let is_found = |model: &str| models.iter().any(|(name, _)| name == model);
    assert!(is_found("users_v1") && is_found("instances_v1"), "{models:?}");

    let keys = world.nats.main().await.jetstream().get_key_value(KEYS_BUCKET).await.unwrap();
    let key = keys.get(&adas_id).await.unwrap().unwrap();
    assert!(contains(&store, &key), "the key is stored");

    // One backend stops answering, and the user keeps sending requests during the erasure.
    world.kill_agent(beta).await;
    let busy = tokio::spawn({
        let (user, other) = (adas.clone(), adas.at(&world.replicas[1].url));
        async move {
            for n in 0.. {
                let client = if n % 2 == 0 { &user } else { &other };
                let prefer = [("prefer", "respond-async")];
                let name = format!("qzadaqz-{n}");
                let asked = client.json(Method::POST, INSTANCE, &prefer, json!({ "name": name })).await;
                let verb = if n % 2 == 0 { "stop" } else { "resume" };
                let which = json!({ "instanceId": "qzadaqz-web" });
                client.json(Method::PUT, &format!("{INSTANCE}/{verb}"), &prefer, which).await;
                if asked.status == 401 {
                    break;
                }
            }
        }
    });
    let asked = dockhost(&world, &["erase-user", &ada.username()]).await;
    assert!(asked.code == 1 && asked.err.contains("--yes"), "without a terminal it can't ask: {asked:?}");
    assert_eq!(ada.sign_in(&world.client(0), &ada.username()).await.status, 200, "nothing was done");
    let output = dockhost(&world, &["erase-user", &ada.username(), "--yes"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.out.contains(&adas_id) && output.out.contains("the key is destroyed"), "{output:?}");
    tokio::time::timeout(DEADLINE, busy).await.expect("the token still works").unwrap();

    // Answers do not differ from those for an unknown user.
    for replica in 0..2 {
        let client = world.client(replica);
        for name in [ada.username(), ada.email()] {
            let refused = ada.sign_in(&client, &name).await;
            let stranger = ada.sign_in(&client, "nobody").await;
            assert_eq!((refused.status, refused.code()), (401, "invalid_credentials"));
            assert_eq!(refused.body["message"], stranger.body["message"]);
        }
        let token = adas.at(&world.replicas[replica].url);
        for answer in [token.get(INSTANCE).await, token.create().await] {
            assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{answer:?}");
        }
    }

    let database = MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap();
    wait_until("only the deliveries of the other user are known", DEADLINE, async || {
        let known = database.webhooks_with_progress().await.unwrap();
        if known.len() == 1 { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
    assert_eq!(found_in_database(&world, &canaries).await, [], "in the database");
    assert_eq!(found_in_logs(&world, &canaries), [""; 0], "in the servers' logs");
    assert_eq!(canaries.found_below(&store), [], "in the broker's store");
    assert!(!contains(&store, &key), "the key was removed but not overwritten");

    // A rebuild and a new replica can read the log, and the other user is not affected.
    let rebuilt = dockhost(&world, &["rebuild"]).await;
    assert!(rebuilt.code == 0 && !rebuilt.out.contains("DIFFERENT"), "{rebuilt:?}");
    world.verify().await;
    assert_eq!(found_in_database(&world, &canaries).await, [], "in rebuilt models");
    world.add_replica().await;
    let eves = eves.at(&world.replicas[2].url);
    assert_eq!(eves.get(INSTANCE).await.data().as_array().map(Vec::len), Some(2));
    assert_eq!(create(&eves, "qzeveqz-later", "later").await.status, 201);

    // Late reports of the returning backend bring no value back.
    world.start_agent(beta, &[]);
    wait_until("beta has only eve's containers", DEADLINE, async || {
        let mine = eves.get(INSTANCE).await;
        let on_both = mine.data().as_array().map_or(0, Vec::len);
        let containers = world.containers(0).now.len() + world.containers(beta).now.len();
        if containers == on_both { Ok(()) } else { Err(format!("{containers} containers, {mine:?}")) }
    })
    .await;
    world.verify().await;
    assert_eq!(found_in_database(&world, &canaries).await, [], "after the late reports");
    assert_eq!(canaries.found_below(&store), [], "in the broker's store at the end");

    // A repeated erasure changes nothing.
    for who in [ada.username(), ada.email(), adas_id.clone()] {
        let again = dockhost(&world, &["erase-user", &who, "--yes"]).await;
        assert!(again.code == 0 && again.out.contains("is erased in the log"), "{who}: {again:?}");
    }
    // The same person can sign up again with the same values, as a new user.
    let back = ada.sign_up(&world.client(0)).await;
    assert_eq!(back.status, 201, "{back:?}");
    assert_ne!(back.data()["user"]["id"], adas_id.as_str());
    let same = ada.sign_up(&world.client(1)).await;
    assert_eq!((same.status, &same.data()["user"]["id"]), (201, &back.data()["user"]["id"]), "{same:?}");
    assert_eq!(world.client(0).with_token(&token(&back)).get(INSTANCE).await.data(), &json!([]));

    // A log line about a failed request has the route, not the path.
    world.nats.kill().await;
    wait_until("a failed request is logged", DEADLINE, async || {
        let refused = eves.send(Method::DELETE, &format!("{INSTANCE}?instanceId=qzeveqz-web"), &[], None).await;
        let log = std::fs::read_to_string(&world.replicas[2].log).unwrap();
        if log.contains("route=\"/api/v2/user/instance\"") { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
}

#[tokio::test]
async fn erase_user_finds_the_user_and_reports_progress() {
    let mut world = World::start(1).await;
    let ada = world.user("ada").await;
    for who in ["nobody", "nobody@example.org", "0193b3a0-0000-7000-8000-000000000001"] {
        let output = dockhost(&world, &["erase-user", who, "--yes"]).await;
        assert!(output.code == 1 && output.err.contains("there is no user") && output.err.contains(who), "{output:?}");
    }
    // Without a replica the command only appends the event.
    world.kill_replica(0).await;
    wait_until("there is no leader", DEADLINE, async || {
        let output = dockhost(&world, &["erase-user", "ada@example.org", "--yes", "--timeout", "1"]).await;
        assert!(
            output.code == 3 && output.out.contains("not complete yet") && output.out.contains("waiting for"),
            "{output:?}"
        );
        if output.out.contains("there is no leader now") { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await;
    let output = dockhost(&world, &["erase-user", "ada", "--yes", "--wait", "false"]).await;
    assert!(output.code == 0 && output.out.contains("is erased in the log"), "{output:?}");
    let replica = world.add_replica().await;
    let output = dockhost(&world, &["erase-user", "ada", "--yes"]).await;
    assert!(output.code == 0 && output.out.contains("the key is destroyed"), "{output:?}");
    let refused = ada.at(&world.replicas[replica].url).get(INSTANCE).await;
    assert_eq!(refused.status, 401);
    // A name means its current owner.
    let eve = world.client(replica).sign_up("ada").await;
    assert_eq!(eve.status, 201, "{eve:?}");
    let output = dockhost(&world, &["erase-user", "ada", "--yes"]).await;
    assert!(output.code == 0 && output.out.contains(eve.data()["user"]["id"].as_str().unwrap()), "{output:?}");
    world.verify().await;
}

#[tokio::test]
async fn erasure_leader_dies_the_next_one_completes_it() {
    let mut world = World::with(2, &[("DOCKHOST_DELETE_WITHIN_MS", "9000")]).await;
    let alpha = world.add_agent("alpha", 50).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    world.kill_agent(alpha).await;
    let output = dockhost(&world, &["erase-user", "ada", "--yes", "--timeout", "2"]).await;
    assert!(output.code == 3 && output.out.contains("waiting for 1 instance to be deleted"), "{output:?}");
    let leader = world.leader().await;
    world.kill_replica(leader).await;
    let output = dockhost(&world, &["erase-user", "ada", "--yes"]).await;
    assert!(output.code == 0 && output.out.contains("the key is destroyed"), "{output:?}");
    world.verify().await;
    let events = world.events_on("dockhost.event.account.>").await;
    assert_eq!(events.values().sum::<usize>(), 2, "created and erased: {events:?}");
}
