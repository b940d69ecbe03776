//! `dockhost dev` as a person runs it: one command, one data directory, and nothing left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockhost::dev::process::{Child, Program, Signal};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{CommandOutput, program, run, target_tmp, wait_until};

const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// A data directory, whose programs are the ones that all tests share.
struct Place {
    data: TempDir,
    port: u16,
}

impl Place {
    async fn fresh() -> Self {
        for pinned in [&dockhost::dev::fetch::NATS_SERVER, &dockhost::dev::fetch::MONGOD] {
            dockhost::dev::fetch::find(pinned, &target_tmp()).await.unwrap();
        }
        let data = tempfile::tempdir().unwrap();
        let bin = target_tmp().join("bin");
        if bin.is_dir() {
            std::os::unix::fs::symlink(bin, data.path().join("bin")).unwrap();
        }
        Self { data, port: free_port() }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.data.path().join("said.log")
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        vec![("PORT", self.port.to_string()), ("DOCKHOST_BIND", "127.0.0.1".to_owned())]
    }

    /// Starts it; returns when its banner is there.
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
            .wait_until_ready(STARTS_WITHIN, async |_| read(&log).contains("Ctrl-C stops all of it").then_some(()))
            .await
            .unwrap();
        child
    }

    /// Runs it where it must refuse.
    async fn refused(&self, data: &Path) -> CommandOutput {
        run(data, &["dev", "--runtime", "simulated", "--data", &data.display().to_string()], &self.env()).await
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Running processes: number, and parent. Those that ended and were not collected don't count.
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

/// All that descend from a process, with itself.
fn family(of: u32) -> Vec<u32> {
    let all = processes();
    let mut family = vec![of];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

async fn all_gone(family: &[u32]) {
    wait_until("no process is left", DEADLINE, async || {
        let left: Vec<String> = processes()
            .into_keys()
            .filter(|pid| family.contains(pid))
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " "))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await;
}

#[tokio::test]
async fn one_command_runs_all_of_it_and_the_data_survives() {
    let place = Place::fresh().await;
    let mut dev = place.start().await;
    let banner = read(&place.log());
    for text in ["DockHost runs.", &place.url(), "agents   2, runtime simulated: asked for", "/api/v2/user/signup"] {
        assert!(banner.contains(text), "{text} is not in the banner: {banner}");
    }
    let client = Client::new(&place.url());
    let welcome = client.sign_up("ada").await;
    assert_eq!(welcome.status, 201, "{welcome:?}");
    let ada = client.with_token(welcome.data()["accessToken"].as_str().unwrap());
    let made = wait_until("an agent is connected", DEADLINE, async || {
        let answer = ada.create().await;
        if answer.code() == "no_backend" { Err(format!("{answer:?}")) } else { Ok(answer) }
    })
    .await;
    assert_eq!((made.status, &made.data()["status"]), (201, &json!("running")), "{made:?}");
    let verified = run(place.data.path(), &["verify", "--data", "."], &[]).await;
    assert!(verified.code == 0 && verified.out.contains("instances: equal, 1 documents"), "{verified:?}");

    // A second one with the same data, and one with the same port.
    let second = Place { port: free_port(), ..Place::fresh().await }.refused(place.data.path()).await;
    let pid = dev.pid().unwrap();
    assert_eq!(second.code, 1, "{second:?}");
    for text in ["runs already", &format!("process {pid}"), &place.url()] {
        assert!(second.err.contains(text), "{text}: {second:?}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let third = place.refused(elsewhere.path()).await;
    assert!(third.code == 1 && third.err.contains(&format!("dockhost (process {pid})")), "{third:?}");
    assert!(third.err.contains("PORT="), "{third:?}");

    // Asked to end, it ends all that it started, the data last.
    let running = family(pid);
    assert!(running.len() >= 5, "broker, database, two agents and itself: {running:?}");
    dev.signal(Signal::Term).await.unwrap();
    let status = tokio::time::timeout(STARTS_WITHIN, dev.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}: {}", read(&place.log()));
    // With it goes what this test binds it to itself.
    drop(dev);
    all_gone(&running).await;

    // Everything is as it was.
    let dev = place.start().await;
    let credentials = json!({ "username": "ada", "password": "correct horse" });
    let back = client.post("/api/v2/user/signin", credentials).await;
    assert_eq!(back.status, 200, "{back:?}");
    let ada = client.with_token(back.data()["accessToken"].as_str().unwrap());
    wait_until("the instance runs again", DEADLINE, async || {
        let list = ada.get("/api/v2/user/instance").await;
        let (first, made) = (&list.data()[0], made.data());
        let same = ["instanceId", "status", "containerId", "sshPort"].iter().all(|field| first[field] == made[field]);
        if same { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;

    // Killed, it leaves nobody behind.
    let running = family(dev.pid().unwrap());
    assert!(running.len() >= 5, "{running:?}");
    dev.kill().await;
    all_gone(&running).await;
}

#[tokio::test]
async fn docker_that_is_asked_for_and_is_not_there_is_said_at_once() {
    let place = Place::fresh().await;
    let socket = place.data.path().join("no.sock");
    let mut env = place.env();
    env.push(("DOCKER_HOST", format!("unix://{}", socket.display())));
    let data = place.data.path().display().to_string();
    let said = run(place.data.path(), &["dev", "--runtime", "docker", "--data", &data], &env).await;
    assert_eq!(said.code, 1, "{said:?}");
    for text in [socket.display().to_string().as_str(), "--runtime simulated", "DOCKER_HOST"] {
        assert!(said.err.contains(text), "{text}: {said:?}");
    }
}
