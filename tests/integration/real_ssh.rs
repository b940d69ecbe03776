//! The main job on a real engine: what the API promises of an instance, a real `ssh` finds.

use std::net::TcpStream;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{Engine, TEST_IMAGE};
use crate::harness::World;
use crate::harness::http::{Answer, Client};

/// An engine on a busy machine is slow.
const PATIENT: [(&str, &str); 2] = [("DOCKHOST_CREATE_WITHIN_MS", "60000"), ("DOCKHOST_RESUME_WITHIN_MS", "60000")];
const WAIT: [(&str, &str); 1] = [("prefer", "wait=60")];

/// A key pair of the test's own, and the hosts that it knows.
struct Keys {
    dir: TempDir,
    public: String,
}

impl Keys {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"];
        let made = Command::new("ssh-keygen").args(options).arg(dir.path().join("key")).status().unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap().trim().to_owned();
        Self { dir, public }
    }

    /// Learns the host's keys as a careful person does: by the fingerprints that the API gave.
    fn know(&self, details: &Value) {
        let (host, port) = place(details);
        let scanned = Command::new("ssh-keyscan").args(["-T", "10", "-p", &port, &host]).output().unwrap();
        let path = self.dir.path().join("known_hosts");
        std::fs::write(&path, &scanned.stdout).unwrap();
        let shown = Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let mut found: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let mut promised: Vec<&str> =
            details["hostKeys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        found.sort_unstable();
        promised.sort_unstable();
        assert!(!found.is_empty() && found == promised, "{details}\n{shown}\n{scanned:?}");
    }

    /// Runs a command on the machine that the API's own command leads to; unknown host keys are refused.
    fn ssh(&self, details: &Value, command: &str) -> Output {
        let words = details["command"].as_str().unwrap().split_whitespace().skip(1);
        Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.dir.path().join("known_hosts").display()))
            .arg("-i")
            .arg(self.dir.path().join("key"))
            .args(words)
            .arg(command)
            .output()
            .unwrap()
    }

    /// The same, and what it printed; it must succeed.
    fn says(&self, details: &Value, command: &str) -> String {
        let output = self.ssh(details, command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{details} {command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn place(details: &Value) -> (String, String) {
    (details["host"].as_str().unwrap().to_owned(), details["port"].to_string())
}

/// Nobody listens there any more, and so `ssh` is refused.
fn refuses(keys: &Keys, details: &Value) {
    let (host, port) = place(details);
    assert!(!keys.ssh(details, "true").status.success(), "a machine that is not running was entered: {details}");
    assert!(TcpStream::connect(format!("{host}:{port}")).is_err(), "somebody still listens: {details}");
}

fn containers_of(engine: &Engine, instance: &Value) -> String {
    let label = format!("label=dockhost.instance={}", instance["instanceId"].as_str().unwrap());
    engine.docker(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &label])
}

async fn add_docker_agent(world: &mut World, engine: &Engine, name: &str, room: u32, ports: &str) {
    let host = engine.host();
    let settings = [
        ("DOCKHOST_RUNTIME", "docker"),
        ("DOCKER_HOST", host.as_str()),
        ("DOCKHOST_IMAGE", TEST_IMAGE),
        ("DOCKHOST_PORTS", ports),
    ];
    world.add_agent_with(name, room, &settings).await;
}

async fn sign_up(world: &World, name: &str, key: &str) -> Client {
    let email = format!("{name}@example.org");
    let body = json!({ "username": name, "email": email, "password": "correct horse", "sshPublicKey": key });
    let answer = world.client(0).post("/api/v2/user/signup", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    world.client(0).with_token(answer.data()["accessToken"].as_str().unwrap())
}

async fn create(user: &Client, body: Value) -> Value {
    let created = user.json(Method::POST, "/api/v2/user/instance", &WAIT, body).await;
    assert_eq!((created.status, &created.data()["status"]), (201, &json!("running")), "{created:?}");
    created.data().clone()
}

async fn change(user: &Client, method: Method, path: &str, instance: &Value) -> Answer {
    let body = json!({ "instanceId": instance["instanceId"] });
    let answer = user.json(method, &format!("/api/v2/user/instance{path}"), &WAIT, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[tokio::test]
async fn from_sign_up_to_a_login_and_to_its_end() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let mut world = World::with(1, &PATIENT).await;
    add_docker_agent(&mut world, &engine, "workshop", 5, "20700-20799").await;
    let ada = sign_up(&world, "ada", &keys.public).await;

    let made = create(&ada, json!({ "name": "box" })).await;
    let details = &made["sshDetails"];
    keys.know(details);
    assert_eq!(keys.says(details, "id -u; hostname; echo kept > /root/file; cat /root/file"), "0\nbox\nkept");
    assert_eq!(containers_of(&engine, &made), made["containerId"].as_str().unwrap());

    let stopped = change(&ada, Method::PUT, "/stop", &made).await;
    assert_eq!(stopped.data()["status"], "stopped");
    refuses(&keys, details);

    let resumed = change(&ada, Method::PUT, "/resume", &made).await;
    assert_eq!((&resumed.data()["status"], &resumed.data()["sshDetails"]), (&json!("running"), details));
    assert_eq!(keys.says(details, "cat /root/file"), "kept", "same key, same port, same files");

    // A key that the instance was not made with stays outside.
    let stranger = Keys::fresh();
    stranger.know(details);
    assert!(!stranger.ssh(details, "true").status.success(), "another key was let in");

    change(&ada, Method::DELETE, "", &made).await;
    assert_eq!(containers_of(&engine, &made), "", "the container is still there");
    refuses(&keys, details);
}

#[tokio::test]
async fn two_agents_on_one_engine_never_share_a_port() {
    let engine = Engine::start();
    let keys = Keys::fresh();
    let mut world = World::with(1, &PATIENT).await;
    // Few enough ports for the two to choose the same ones at the same time, and enough to move to others.
    add_docker_agent(&mut world, &engine, "left", 2, "20800-20820").await;
    add_docker_agent(&mut world, &engine, "right", 2, "20800-20820").await;
    let ada = sign_up(&world, "ada", &keys.public).await;

    let all = [json!({ "name": "a" }), json!({ "name": "b" }), json!({ "name": "c" }), json!({ "name": "d" })];
    let made = futures::future::join_all(all.into_iter().map(|body| create(&ada, body))).await;
    let mut ports: Vec<u64> = made
        .iter()
        .flat_map(|one| ["sshPort", "httpPort", "httpsPort"].map(|port| one[port].as_u64().unwrap()))
        .collect();
    ports.sort_unstable();
    let count = ports.len();
    ports.dedup();
    assert_eq!((count, ports.len()), (12, 12), "a port was given twice: {made:?}");
    for one in &made {
        keys.know(&one["sshDetails"]);
        assert_eq!(keys.says(&one["sshDetails"], "hostname"), one["name"].as_str().unwrap());
    }
    let on = |name: &str| made.iter().filter(|one| one["backend"]["name"] == name).count();
    assert_eq!((on("left"), on("right")), (2, 2), "{made:?}");
    for one in &made {
        change(&ada, Method::DELETE, "", one).await;
        assert_eq!(containers_of(&engine, one), "");
    }
}

#[tokio::test]
async fn a_missing_image_is_the_reason_that_the_user_reads() {
    let engine = Engine::start();
    let mut world = World::start(1).await;
    let host = engine.host();
    let settings = [
        ("DOCKHOST_RUNTIME", "docker"),
        ("DOCKER_HOST", host.as_str()),
        // The project's names are never fetched from a registry.
        ("DOCKHOST_IMAGE", "dockhost/no-such-image:latest"),
    ];
    world.add_agent_with("bare", 2, &settings).await;
    let ada = world.user("ada").await;
    let failed = ada.create().await;
    assert_eq!((failed.status, failed.code()), (503, "operation_failed"), "{failed:?}");
    let message = failed.body["message"].as_str().unwrap();
    assert!(message.contains("there is no image dockhost/no-such-image:latest"), "{failed:?}");
    let reason = failed.body["error"]["details"]["reasons"][0].to_string();
    assert!(reason.contains("bare") && reason.contains("there is no image"), "{failed:?}");
}
