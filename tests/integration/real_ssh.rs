//! Instances on a real container engine, entered with a real `ssh`.

use std::net::TcpStream;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::{Engine, TEST_IMAGE};
use crate::harness::http::{Answer, Client};
use crate::harness::{World, run_with_input};

/// An engine on a busy machine is slow.
pub const LONG_DEADLINES: [(&str, &str); 2] =
    [("DOCKHOST_CREATE_WITHIN_MS", "60000"), ("DOCKHOST_RESUME_WITHIN_MS", "60000")];
const WAIT: [(&str, &str); 1] = [("prefer", "wait=60")];

/// A key pair and a file of known hosts.
struct SshClient {
    dir: TempDir,
    public: String,
}

impl SshClient {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"];
        let made = Command::new("ssh-keygen").args(options).arg(dir.path().join("key")).status().unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap().trim().to_owned();
        Self { dir, public }
    }

    /// Trusts the host's keys after comparing their fingerprints with those that the API returned.
    fn trust(&self, details: &Value) {
        let (host, port) = host_and_port(details);
        let scanned = Command::new("ssh-keyscan").args(["-T", "10", "-p", &port, &host]).output().unwrap();
        let path = self.dir.path().join("known_hosts");
        std::fs::write(&path, &scanned.stdout).unwrap();
        let shown = Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let mut found: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let mut expected: Vec<&str> =
            details["hostKeys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(!found.is_empty() && found == expected, "{details}\n{shown}\n{scanned:?}");
    }

    /// Runs a command in the instance through the `ssh` command that the API returned; refuses unknown host keys.
    fn run(&self, details: &Value, command: &str) -> Output {
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

    /// The same; the command must succeed. Returns its output.
    fn output(&self, details: &Value, command: &str) -> String {
        let output = self.run(details, command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{details} {command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn host_and_port(details: &Value) -> (String, String) {
    (details["host"].as_str().unwrap().to_owned(), details["port"].to_string())
}

/// The port is closed, so `ssh` fails.
fn assert_unreachable(ssh: &SshClient, details: &Value) {
    let (host, port) = host_and_port(details);
    assert!(!ssh.run(details, "true").status.success(), "ssh into an instance that isn't running: {details}");
    assert!(TcpStream::connect(format!("{host}:{port}")).is_err(), "the port is open: {details}");
}

fn containers_of(engine: &Engine, instance: &Value) -> String {
    let label = format!("label=dockhost.instance={}", instance["instanceId"].as_str().unwrap());
    engine.docker(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &label])
}

/// A machine whose containers run on this engine, with the test image.
pub async fn add_docker_agent(world: &mut World, engine: &Engine, name: &str, max_containers: u32, ports: &str) {
    let host = engine.host();
    let settings = [
        ("DOCKHOST_RUNTIME", "docker"),
        ("DOCKER_HOST", host.as_str()),
        ("DOCKHOST_IMAGE", TEST_IMAGE),
        ("DOCKHOST_PORTS", ports),
    ];
    world.add_agent_with(name, max_containers, &settings).await;
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

/// On a machine without a key: sign up, create, log in.
#[tokio::test]
async fn command_line_goes_from_an_account_to_a_shell_in_three_commands() {
    let engine = Engine::start();
    let mut world = World::with(1, &LONG_DEADLINES).await;
    add_docker_agent(&mut world, &engine, "workshop", 5, "20800-20819").await;
    let home = tempfile::tempdir().unwrap();
    let env = [("HOME", home.path().display().to_string())];
    let dockhost = async |args: &[&str], input: &str| run_with_input(home.path(), args, &env, input).await;
    let url = world.replicas[0].url.clone();
    let account = dockhost(&["signup", &url, "ada", "ada@example.org"], "correct horse\n").await;
    assert_eq!(account.code, 0, "{account:?}");
    let created = dockhost(&["create", "--name", "box", "--wait", "60"], "").await;
    assert!(created.code == 0 && created.out.contains("box is running on workshop"), "{created:?}");
    // `ssh` takes the home directory of the account that runs it, not $HOME: so the key is named here.
    let key = home.path().join(".ssh/id_ed25519").display().to_string();
    let shell = dockhost(&["ssh", "--identity", &key, "box", "--", "hostname; exit 7"], "").await;
    assert_eq!((shell.code, shell.out.trim()), (7, "box"), "the exit code is that of the command: {shell:?}");
    let known = home.path().join(".config/dockhost/known_hosts");
    let hosts = std::fs::read_to_string(&known).unwrap();
    assert!(!hosts.is_empty());

    // Another server at the port is noticed: nothing is sent to it.
    std::fs::write(&known, hosts.replace("AAAA", "AAAB")).unwrap();
    let again = dockhost(&["ssh", "--identity", &key, "box", "--", "hostname"], "").await;
    assert_eq!(again.code, 0, "a damaged file is learned again: {again:?}");
    let written = dockhost(&["config-ssh"], "").await;
    assert_eq!(written.code, 0, "{written:?}");
    let config = home.path().join(".ssh/config").display().to_string();
    let options = ["-F", &config, "-i", &key, "-o", "BatchMode=yes", "box.dockhost", "id -u"];
    let direct = Command::new("ssh").args(options).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&direct.stdout).trim(), "0", "{direct:?}");
}

#[tokio::test]
async fn instance_through_its_lifecycle_is_reachable_by_ssh_while_running() {
    let engine = Engine::start();
    let ssh = SshClient::new();
    let mut world = World::with(1, &LONG_DEADLINES).await;
    add_docker_agent(&mut world, &engine, "workshop", 5, "20700-20799").await;
    let ada = sign_up(&world, "ada", &ssh.public).await;

    let made = create(&ada, json!({ "name": "box" })).await;
    let details = &made["sshDetails"];
    ssh.trust(details);
    assert_eq!(ssh.output(details, "id -u; hostname; echo saved > /root/file; cat /root/file"), "0\nbox\nsaved");
    assert_eq!(containers_of(&engine, &made), made["containerId"].as_str().unwrap());

    let stopped = change(&ada, Method::PUT, "/stop", &made).await;
    assert_eq!(stopped.data()["status"], "stopped");
    assert_unreachable(&ssh, details);

    let resumed = change(&ada, Method::PUT, "/resume", &made).await;
    assert_eq!((&resumed.data()["status"], &resumed.data()["sshDetails"]), (&json!("running"), details));
    assert_eq!(ssh.output(details, "cat /root/file"), "saved", "same key, same port, same files");

    // Another key is refused.
    let other = SshClient::new();
    other.trust(details);
    assert!(!other.run(details, "true").status.success(), "another key was accepted");

    change(&ada, Method::DELETE, "", &made).await;
    assert_eq!(containers_of(&engine, &made), "", "the container is still there");
    assert_unreachable(&ssh, details);
}

#[tokio::test]
async fn agents_on_one_engine_never_share_a_port() {
    let engine = Engine::start();
    let ssh = SshClient::new();
    let mut world = World::with(1, &LONG_DEADLINES).await;
    // Few enough ports that both agents choose the same ones at once, and enough that they can move to others.
    add_docker_agent(&mut world, &engine, "left", 2, "20800-20820").await;
    add_docker_agent(&mut world, &engine, "right", 2, "20800-20820").await;
    let ada = sign_up(&world, "ada", &ssh.public).await;

    let all = [json!({ "name": "a" }), json!({ "name": "b" }), json!({ "name": "c" }), json!({ "name": "d" })];
    let made = futures::future::join_all(all.into_iter().map(|body| create(&ada, body))).await;
    let mut ports: Vec<u64> = made
        .iter()
        .flat_map(|one| ["sshPort", "httpPort", "httpsPort"].map(|port| one[port].as_u64().unwrap()))
        .collect();
    ports.sort_unstable();
    let count = ports.len();
    ports.dedup();
    assert_eq!((count, ports.len()), (12, 12), "a port was used twice: {made:?}");
    for one in &made {
        ssh.trust(&one["sshDetails"]);
        assert_eq!(ssh.output(&one["sshDetails"], "hostname"), one["name"].as_str().unwrap());
    }
    let on = |name: &str| made.iter().filter(|one| one["backend"]["name"] == name).count();
    assert_eq!((on("left"), on("right")), (2, 2), "{made:?}");
    for one in &made {
        change(&ada, Method::DELETE, "", one).await;
        assert_eq!(containers_of(&engine, one), "");
    }
}

#[tokio::test]
async fn create_missing_image_is_the_reason_in_the_answer() {
    let engine = Engine::start();
    let mut world = World::start(1).await;
    let host = engine.host();
    let settings = [
        ("DOCKHOST_RUNTIME", "docker"),
        ("DOCKER_HOST", host.as_str()),
        // Agents never pull images with the project's prefix from a registry.
        ("DOCKHOST_IMAGE", "dockhost/no-such-image:latest"),
    ];
    world.add_agent_with("bare", 2, &settings).await;
    let ada = world.user("ada").await;
    let failed = ada.create().await;
    assert_eq!((failed.status, failed.code()), (503, "operation_failed"), "{failed:?}");
    let message = failed.body["message"].as_str().unwrap();
    assert!(message.contains("image dockhost/no-such-image:latest not found"), "{failed:?}");
    let reason = failed.body["error"]["details"]["reasons"][0].to_string();
    assert!(reason.contains("bare") && reason.contains("not found"), "{failed:?}");
}
