//! `dockhost dev`: one command, one data directory, and no process left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockhost::dev::process::{Child, Program, Signal};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{CommandOutput, ports, program, run, target_tmp, wait_until};

const START_TIMEOUT: Duration = Duration::from_secs(90);

/// A `dockhost dev` with its own data directory and port; all tests share the downloaded programs.
struct Dev {
    data: TempDir,
    port: u16,
}

impl Dev {
    async fn new() -> Self {
        for pinned in [&dockhost::dev::fetch::NATS_SERVER, &dockhost::dev::fetch::MONGOD] {
            dockhost::dev::fetch::find(pinned, &target_tmp()).await.unwrap();
        }
        let data = tempfile::tempdir().unwrap();
        let bin = target_tmp().join("bin");
        if bin.is_dir() {
            std::os::unix::fs::symlink(bin, data.path().join("bin")).unwrap();
        }
        Self { data, port: ports::free() }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.data.path().join("output.log")
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        vec![("PORT", self.port.to_string())]
    }

    /// Starts it; returns when it has printed its banner.
    async fn start(&self) -> Child {
        let _ = std::fs::remove_file(self.log());
        let args = ["dev", "--runtime", "simulated", "--data", &self.data.path().display().to_string()];
        let program = Program {
            name: "dockhost dev",
            path: program("dockhost"),
            args: args.iter().map(Into::into).collect(),
            env: self.env(),
            log: self.log(),
        };
        let mut child = program.start().unwrap();
        let log = self.log();
        child
            .wait_until_ready(START_TIMEOUT, async |_| read(&log).contains("Ctrl-C stops broker").then_some(()))
            .await
            .unwrap();
        child
    }

    /// Runs it with another data directory, where it is expected to exit.
    async fn run_in(&self, data: &Path) -> CommandOutput {
        run(data, &["dev", "--runtime", "simulated", "--data", &data.display().to_string()], &self.env()).await
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// The running processes by id, each with its parent. Zombies don't count.
fn processes() -> BTreeMap<u32, u32> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        (state != "Z").then_some((pid, parent))
    });
    all.collect()
}

/// A process and all its descendants.
fn process_tree(root: u32) -> Vec<u32> {
    let all = processes();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(all.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    tree
}

async fn wait_until_exited(tree: &[u32]) {
    wait_until("all processes have exited", DEADLINE, async || {
        let left: Vec<String> = processes()
            .into_keys()
            .filter(|pid| tree.contains(pid))
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " "))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await;
}

#[tokio::test]
async fn dev_without_listen_is_reachable_from_this_machine_only() {
    let dev = Dev::new().await;
    let process = dev.start().await;
    assert_eq!(Client::new(&dev.url()).get("/health").await.status, 200);
    // Another address of this machine; a server that listens on all of them answers there too.
    let other = std::net::TcpStream::connect(("127.0.0.2", dev.port));
    assert_eq!(other.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    process.stop(DEADLINE).await;
}

#[tokio::test]
async fn dev_stopped_and_killed_leaves_no_process_and_keeps_the_data() {
    let dev = Dev::new().await;
    let mut process = dev.start().await;
    let banner = read(&dev.log());
    for text in ["DockHost is running.", &dev.url(), "agents   2, runtime simulated: requested", "/api/v2/user/signup"]
    {
        assert!(banner.contains(text), "{text} is not in the banner: {banner}");
    }
    let client = Client::new(&dev.url());
    let welcome = client.sign_up("ada").await;
    assert_eq!(welcome.status, 201, "{welcome:?}");
    let ada = client.with_token(welcome.data()["accessToken"].as_str().unwrap());
    let made = wait_until("an agent is connected", DEADLINE, async || {
        let answer = ada.create().await;
        if answer.code() == "no_backend" { Err(format!("{answer:?}")) } else { Ok(answer) }
    })
    .await;
    assert_eq!((made.status, &made.data()["status"]), (201, &json!("running")), "{made:?}");
    // The projector of the sessions gathers events before it stores them, so the model may still be empty.
    wait_until("the read models hold the log", DEADLINE, async || client.models_hold_log().await).await;
    let verified = run(dev.data.path(), &["verify", "--data", "."], &[]).await;
    assert!(verified.code == 0 && verified.out.contains("instances: equal, 1 documents"), "{verified:?}");

    // Another one can't use the same data or the same port.
    let second = Dev { port: ports::free(), ..Dev::new().await }.run_in(dev.data.path()).await;
    let pid = process.pid().unwrap();
    assert_eq!(second.code, 1, "{second:?}");
    for text in ["runs already", &format!("process {pid}"), &dev.url()] {
        assert!(second.err.contains(text), "{text}: {second:?}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let third = dev.run_in(elsewhere.path()).await;
    assert!(third.code == 1 && third.err.contains(&format!("dockhost (process {pid})")), "{third:?}");
    assert!(third.err.contains("PORT="), "{third:?}");

    // SIGTERM stops everything.
    let running = process_tree(pid);
    assert!(running.len() >= 5, "broker, database, two agents and itself: {running:?}");
    process.signal(Signal::Term).await.unwrap();
    let status = tokio::time::timeout(START_TIMEOUT, process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}: {}", read(&dev.log()));
    // Ends the watcher that kills it with this test.
    drop(process);
    wait_until_exited(&running).await;

    // The data is still there.
    let process = dev.start().await;
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    let back = client.post("/api/v2/user/signin", credentials).await;
    assert_eq!(back.status, 200, "{back:?}");
    let ada = client.with_token(back.data()["accessToken"].as_str().unwrap());
    wait_until("the instance is running", DEADLINE, async || {
        let list = ada.get("/api/v2/user/instance").await;
        let (first, made) = (&list.data()[0], made.data());
        let same = ["instanceId", "status", "containerId", "sshPort"].iter().all(|field| first[field] == made[field]);
        if same { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;

    // SIGKILL leaves no process behind.
    let running = process_tree(process.pid().unwrap());
    assert!(running.len() >= 5, "{running:?}");
    process.kill().await;
    wait_until_exited(&running).await;
}

#[tokio::test]
async fn dev_docker_requested_without_engine_is_refused() {
    let dev = Dev::new().await;
    let socket = dev.data.path().join("no.sock");
    let mut env = dev.env();
    env.push(("DOCKER_HOST", format!("unix://{}", socket.display())));
    let data = dev.data.path().display().to_string();
    let output = run(dev.data.path(), &["dev", "--runtime", "docker", "--data", &data], &env).await;
    assert_eq!(output.code, 1, "{output:?}");
    for text in [socket.display().to_string().as_str(), "--runtime simulated", "DOCKER_HOST"] {
        assert!(output.err.contains(text), "{text}: {output:?}");
    }
}
