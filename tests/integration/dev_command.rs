//! `dockhost dev`: one command, one data directory, and no process left behind.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
    /// The address that the API listens on.
    address: &'static str,
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
        Self { data, address: "127.0.0.1", port: ports::free() }
    }

    fn url(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }

    fn log(&self) -> PathBuf {
        self.data.path().join("output.log")
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        // Nothing listens there: requests to this machine use no proxy.
        let proxy = "http://127.0.0.1:9".to_owned();
        let mut env = vec![("PORT", self.port.to_string()), ("HTTP_PROXY", proxy.clone()), ("ALL_PROXY", proxy)];
        if self.address != "127.0.0.1" {
            env.push(("DOCKHOST_BIND", self.address.to_owned()));
        }
        env
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
async fn dev_makes_an_administrator_whose_password_only_the_owner_reads() {
    let dev = Dev::new().await;
    let process = dev.start().await;
    let file = dev.data.path().join("admin-password");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let password = read(&file).trim().to_owned();
    let banner = read(&dev.log());
    assert!(banner.contains("admin    admin, with the password in") && !banner.contains(&password), "{banner}");
    let client = Client::new(&dev.url());
    let signed_in = client.post("/api/v2/user/signin", json!({ "username": "admin", "password": password })).await;
    assert_eq!((signed_in.status, &signed_in.data()["user"]["role"]), (200, &json!("admin")), "{signed_in:?}");
    let admin = client.with_token(signed_in.data()["accessToken"].as_str().unwrap());
    assert_eq!(admin.get("/api/v2/admin/backends").await.status, 200);
    process.stop(DEADLINE).await;
}

#[tokio::test]
async fn dev_with_another_address_to_bind_registers_its_agent_there() {
    let mut dev = Dev::new().await;
    dev.address = "127.0.0.3";
    let process = dev.start().await;
    wait_until("the agent is connected", DEADLINE, async || {
        let health = Client::new(&dev.url()).get("/health").await;
        if health.body["backends"] == 1 { Ok(()) } else { Err(format!("{health:?}")) }
    })
    .await;
    process.stop(DEADLINE).await;
}

#[tokio::test]
async fn dev_stopped_and_killed_leaves_no_process_and_keeps_the_data() {
    let dev = Dev::new().await;
    let mut process = dev.start().await;
    let banner = read(&dev.log());
    for text in [
        "DockHost is running.",
        &dev.url(),
        "database mongodb://",
        "agents   2, runtime simulated: requested",
        "/api/v2/user/signup",
    ] {
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

/// The system's administrator may open any socket, so then the command runs as somebody else.
#[tokio::test]
async fn dev_without_permission_for_the_engines_socket_says_what_to_do() {
    const NOBODY: u32 = 65_534;
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let folder = tempfile::tempdir().unwrap();
    let (data, socket) = (folder.path().join("data"), folder.path().join("docker.sock"));
    std::fs::create_dir(&data).unwrap();
    let _engine = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o755);
    allow(&socket, if is_root { 0o600 } else { 0o000 });
    let mut command = std::process::Command::new(program("dockhost"));
    command.args(["dev", "--runtime", "docker", "--data"]).arg(&data).current_dir(folder.path()).env_clear();
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    if is_root {
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return println!("left out, because no other user can run this program here");
        }
        output => output.unwrap(),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [&format!("permission is denied for the engine's socket {}", socket.display()), "group docker"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A container engine that lists two containers: one of the backend with this id, and one of another.
struct FakeEngine {
    url: String,
    removed: Arc<Mutex<Vec<String>>>,
}

impl FakeEngine {
    fn start(socket: &Path, backend: &str) -> Self {
        let removed = Arc::<Mutex<Vec<String>>>::default();
        let container = |id: &str, backend: &str| {
            json!({ "Id": id, "Names": [format!("/{id}-name")], "State": "running",
            "Labels": { "dockhost.backend": backend } })
        };
        let listed = json!([container("own", backend), container("foreign", "0193b3a0-0000-7000-8000-0000000000ff")]);
        let version = json!({ "Version": "28.0.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24" });
        let record = Arc::clone(&removed);
        let answer = move |request: Request| {
            let path = request.uri().path().to_owned();
            if request.method() == Method::DELETE {
                record.lock().unwrap().push(path.rsplit('/').next().unwrap().to_owned());
                return StatusCode::NO_CONTENT.into_response();
            }
            let body = if path.ends_with("/containers/json") { &listed } else { &version };
            axum::Json(body.clone()).into_response()
        };
        let app = axum::Router::new().fallback(async move |request: Request| answer(request));
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url: format!("unix://{}", socket.display()), removed }
    }
}

#[tokio::test]
async fn dev_reset_removes_the_containers_of_its_own_agents_after_consent() {
    const BACKEND: &str = "0193b3a0-0000-7000-8000-000000000001";
    let dev = Dev::new().await;
    let engine = FakeEngine::start(&dev.data.path().join("engine.sock"), BACKEND);
    let home = dev.data.path().join("agents/dev-1");
    std::fs::create_dir_all(&home).unwrap();
    let claims = URL_SAFE_NO_PAD.encode(json!({ "sub": BACKEND }).to_string());
    std::fs::write(home.join("api-key"), format!("head.{claims}.signature")).unwrap();
    // Nothing starts after the reset, because the port is in use.
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let env = [("PORT", occupied.local_addr().unwrap().port().to_string()), ("DOCKER_HOST", engine.url.clone())];
    let data = dev.data.path().display().to_string();
    let reset = ["dev", "--runtime", "docker", "--data", &data, "--reset"];

    let unconfirmed = run(dev.data.path(), &reset, &env).await;
    assert!(unconfirmed.code == 1 && unconfirmed.err.contains("needs --yes"), "{unconfirmed:?}");
    assert!(unconfirmed.err.contains("own own-name (running)"), "{unconfirmed:?}");
    assert!(home.exists() && engine.removed.lock().unwrap().is_empty(), "{unconfirmed:?}");

    let confirmed = run(dev.data.path(), &[&reset[..], &["--yes"]].concat(), &env).await;
    assert!(confirmed.code == 1 && confirmed.err.contains("choose another port"), "{confirmed:?}");
    assert!(!confirmed.err.contains("foreign"), "{confirmed:?}");
    assert_eq!(*engine.removed.lock().unwrap(), ["own"]);
    assert!(!home.exists());
}
