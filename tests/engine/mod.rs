//! A container engine for tests, with the test image: a running one, or Debian's, started in a temporary directory.
//!
//! A lock file ensures that one test at a time uses the engine. Include this file with `#[path]` in a binary that expects
//! clippy's `expect_used`; it needs only the standard library and `tempfile`.
//!
//! With `CI=true` or `DOCKHOST_TEST_INSTALL_ENGINE=1`, a missing engine is installed. Otherwise the test fails with a
//! message that says what to do, or is left out if it asks for [`Engine::missing`] first.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The image that [`Engine::start`] builds if it is missing.
pub const TEST_IMAGE: &str = "dockhost/test:latest";

/// Timeout for the engine to start, and to stop.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A container engine, stopped when dropped if it was started here.
pub struct Engine {
    socket: PathBuf,
    launched: Option<Launched>,
    // Engines on one machine share its bridges, firewall and ports, so only one test at a time may use one.
    _lock: File,
}

struct Launched {
    dockerd: Child,
    dir: tempfile::TempDir,
}

impl Engine {
    /// What this machine needs before [`Engine::start`], if it has no engine and none may be installed.
    pub fn missing() -> Option<&'static str> {
        let can_start = existing_socket().is_some() || is_installed() || may_be_installed();
        (!can_start).then_some(
            "a container engine, and none answers: start Docker, set DOCKER_HOST to a socket (unix://…), or set \
             DOCKHOST_TEST_INSTALL_ENGINE=1 to let it install Debian's docker.io (as root)",
        )
    }

    /// Starts or finds an engine. Call it from the test's thread: a started engine ends with the thread that started it.
    pub fn start() -> Self {
        let lock = File::create(std::env::temp_dir().join("dockhost-test-engine.lock")).expect("the lock file");
        lock.lock().expect("the lock");
        let engine = match existing_socket() {
            Some(socket) => Self { socket, launched: None, _lock: lock },
            None => {
                install();
                // The installation may have started an engine.
                match existing_socket() {
                    Some(socket) => Self { socket, launched: None, _lock: lock },
                    None => Self::launch(lock),
                }
            }
        };
        engine.build_test_image();
        engine
    }

    /// The engine's address in the format of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Runs `docker` with these arguments on the engine and returns its output.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = Command::new("docker").env("DOCKER_HOST", self.host()).args(arguments).output().expect("docker");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Restarts the engine with all its containers, if it was started here; whether it was. Another one is left alone.
    #[expect(clippy::allow_attributes, reason = "in the binaries that restart the engine it is not dead")]
    #[allow(dead_code, reason = "not every binary that includes this file restarts the engine")]
    pub fn restart(&mut self) -> bool {
        let Some(launched) = &mut self.launched else { return false };
        end(&mut launched.dockerd);
        launched.dockerd = spawn(launched.dir.path());
        wait_for_answer(launched, &self.socket);
        true
    }

    fn launch(lock: File) -> Self {
        let dir = tempfile::Builder::new().prefix("dockhost-engine").tempdir().expect("a directory");
        let socket = dir.path().join("socket");
        let mut launched = Launched { dockerd: spawn(dir.path()), dir };
        wait_for_answer(&mut launched, &socket);
        Self { socket, launched: Some(launched), _lock: lock }
    }

    fn build_test_image(&self) {
        let script = workspace().join("images/test/build.sh");
        let output = Command::new(&script).env("DOCKER_HOST", self.host()).output().expect("images/test/build.sh");
        assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(launched) = &mut self.launched else { return };
        // Must not panic, because the test may be panicking already.
        let docker = |arguments: &[&str]| {
            Command::new("docker")
                .arg("--host")
                .arg(format!("unix://{}", self.socket.display()))
                .args(arguments)
                .output()
                .ok()
        };
        if let Some(all) = docker(&["ps", "--all", "--quiet"]) {
            let all = String::from_utf8_lossy(&all.stdout).into_owned();
            let mut arguments = vec!["rm", "--force"];
            arguments.extend(all.split_whitespace());
            if arguments.len() > 2 {
                docker(&arguments);
            }
        }
        // The bridge and the firewall rules would remain after the engine has ended.
        docker(&["network", "rm", "dockhost"]);
        for rule in [
            &["-D", "INPUT", "-i", "dockhost0", "-j", "DOCKHOST-HOST"][..],
            &["-D", "DOCKER-USER", "-i", "dockhost0", "-j", "DOCKHOST-OUT"],
            &["-D", "FORWARD", "-i", "dockhost0", "-j", "DOCKHOST-OUT"],
            &["-F", "DOCKHOST-HOST"],
            &["-F", "DOCKHOST-OUT"],
            &["-X", "DOCKHOST-HOST"],
            &["-X", "DOCKHOST-OUT"],
        ] {
            for program in ["iptables", "ip6tables"] {
                let _ = Command::new(program).arg("-w").args(rule).stderr(Stdio::null()).status();
            }
        }
        end(&mut launched.dockerd);
        unmount_below(launched.dir.path());
    }
}

/// Starts an engine with its data in this directory.
fn spawn(dir: &Path) -> Child {
    let at = |name: &str| dir.join(name);
    let log = File::options().create(true).append(true).open(at("log")).expect("the engine's log");
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "dockerd"])
        .arg("--data-root")
        .arg(at("data"))
        .arg("--exec-root")
        .arg(at("exec"))
        .arg("--pidfile")
        .arg(at("pid"))
        .arg("--host")
        .arg(format!("unix://{}", at("socket").display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the engine's log"))
        .stderr(log)
        .spawn()
        .expect("dockerd")
}

fn wait_for_answer(launched: &mut Launched, socket: &Path) {
    let since = Instant::now();
    while !answers(socket) {
        let ended = launched.dockerd.try_wait().expect("dockerd");
        assert!(
            ended.is_none() && since.elapsed() < ENGINE_TIMEOUT,
            "dockerd does not answer ({ended:?}); its log:\n{}",
            fs::read_to_string(launched.dir.path().join("log")).unwrap_or_default()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Ends an engine. Must not panic, because a test may be panicking already.
fn end(dockerd: &mut Child) {
    let _ = Command::new("kill").arg("-TERM").arg(dockerd.id().to_string()).status();
    let since = Instant::now();
    while matches!(dockerd.try_wait(), Ok(None)) {
        if since.elapsed() > ENGINE_TIMEOUT {
            let _ = dockerd.kill();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Unmounts the network namespace, which the engine leaves mounted.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(point).starts_with(dir) {
            let _ = Command::new("umount").arg(point).status();
        }
    }
}

fn existing_socket() -> Option<PathBuf> {
    let configured = std::env::var("DOCKER_HOST").ok();
    let configured = configured.iter().filter_map(|host| host.strip_prefix("unix://"));
    configured.chain(["/var/run/docker.sock"]).map(PathBuf::from).find(|socket| answers(socket))
}

/// Whether an engine answers its health check.
fn answers(socket: &Path) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b" 200"))
    };
    ping().unwrap_or(false)
}

fn is_installed() -> bool {
    let is_present = |program: &&str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    ["dockerd", "docker", "iptables"].iter().all(is_present)
}

fn may_be_installed() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
        || std::env::var("DOCKHOST_TEST_INSTALL_ENGINE").is_ok_and(|value| value == "1")
}

fn install() {
    if is_installed() {
        return;
    }
    if let Some(missing) = Engine::missing() {
        panic!("this test needs {missing}");
    }
    let apt = |arguments: &[&str]| {
        let output =
            Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments).output().expect("apt-get");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let packages = ["install", "-y", "-qq", "--no-install-recommends", "docker.io", "iptables", "openssh-client"];
    if !apt(&packages).0 {
        // A new machine has no package lists yet.
        apt(&["update", "-qq"]);
        let (installed, errors) = apt(&packages);
        assert!(installed, "apt-get could not install docker.io: {errors}");
    }
}

/// The workspace's root folder, for any package that includes this file.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = package.ancestors().find(|dir| dir.join("images/test/build.sh").exists());
    top.unwrap_or(package).to_owned()
}
