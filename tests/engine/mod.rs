//! A container engine for tests: one that answers already, or Debian's, started by hand in a temporary directory.
//!
//! In: nothing but the environment. Out: an engine with the test image on it, and nobody else's test using it at the
//! same time. Include this file by `#[path]`, in a binary that expects clippy's `expect_used`; it needs the standard
//! library and `tempfile` only.
//!
//! An engine is installed only where tests may do that: with `CI=true` or `DOCKHOST_TEST_INSTALL_ENGINE=1`. Elsewhere a
//! missing one fails the test, and the message names what to do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The image that [`Engine::start`] makes sure of.
pub const TEST_IMAGE: &str = "dockhost/test:latest";

/// How long the engine may take to answer, and to stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// A container engine, stopped when dropped if it was started here.
pub struct Engine {
    socket: PathBuf,
    own: Option<Own>,
    // Held to the end: engines on one machine share its bridges, firewall and ports, so tests take turns.
    _turn: File,
}

struct Own {
    dockerd: Child,
    dir: tempfile::TempDir,
}

impl Engine {
    /// An engine that answers. Call it from the test's own thread: the engine dies with the thread that started it.
    pub fn start() -> Self {
        let turn = File::create(std::env::temp_dir().join("dockhost-test-engine.lock")).expect("the lock file");
        turn.lock().expect("the lock");
        let engine = match usual_socket() {
            Some(socket) => Self { socket, own: None, _turn: turn },
            None => {
                install();
                // The installation may have started one.
                match usual_socket() {
                    Some(socket) => Self { socket, own: None, _turn: turn },
                    None => Self::launch(turn),
                }
            }
        };
        engine.make_test_image();
        engine
    }

    /// Where it answers, as `DOCKER_HOST` wants it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Runs `docker` with these words against it, and returns what it printed.
    pub fn docker(&self, words: &[&str]) -> String {
        let output = Command::new("docker").env("DOCKER_HOST", self.host()).args(words).output().expect("docker");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {words:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn launch(turn: File) -> Self {
        let dir = tempfile::Builder::new().prefix("dockhost-engine").tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let log = File::create(at("log")).expect("the engine's log");
        let socket = at("socket");
        let dockerd = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the engine's log"))
            .stderr(log)
            .spawn()
            .expect("dockerd");
        let log = at("log");
        let mut own = Own { dockerd, dir };
        let since = Instant::now();
        while !answers(&socket) {
            let ended = own.dockerd.try_wait().expect("dockerd");
            assert!(
                ended.is_none() && since.elapsed() < DEADLINE,
                "dockerd doesn't answer ({ended:?}); it says:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Self { socket, own: Some(own), _turn: turn }
    }

    fn make_test_image(&self) {
        let script = workspace().join("images/test/build.sh");
        let output = Command::new(&script).env("DOCKER_HOST", self.host()).output().expect("images/test/build.sh");
        assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        // Nothing here may panic: the test may be failing already.
        let docker = |words: &[&str]| {
            Command::new("docker")
                .arg("--host")
                .arg(format!("unix://{}", self.socket.display()))
                .args(words)
                .output()
                .ok()
        };
        if let Some(all) = docker(&["ps", "--all", "--quiet"]) {
            let all = String::from_utf8_lossy(&all.stdout).into_owned();
            let mut words = vec!["rm", "--force"];
            words.extend(all.split_whitespace());
            if words.len() > 2 {
                docker(&words);
            }
        }
        // Its bridge and rules would outlive the engine.
        docker(&["network", "rm", "dockhost"]);
        for rule in [
            &["-D", "INPUT", "-i", "dockhost0", "-j", "DOCKHOST-HOST"][..],
            &["-D", "DOCKER-USER", "-i", "dockhost0", "-j", "DOCKHOST-OUT"],
            &["-F", "DOCKHOST-HOST"],
            &["-F", "DOCKHOST-OUT"],
            &["-X", "DOCKHOST-HOST"],
            &["-X", "DOCKHOST-OUT"],
        ] {
            let _ = Command::new("iptables").arg("-w").args(rule).stderr(Stdio::null()).status();
        }
        let _ = Command::new("kill").arg("-TERM").arg(own.dockerd.id().to_string()).status();
        let since = Instant::now();
        while matches!(own.dockerd.try_wait(), Ok(None)) {
            if since.elapsed() > DEADLINE {
                let _ = own.dockerd.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
        unmount_below(own.dir.path());
    }
}

/// The engine leaves its network namespace mounted.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(point).starts_with(dir) {
            let _ = Command::new("umount").arg(point).status();
        }
    }
}

fn usual_socket() -> Option<PathBuf> {
    let named = std::env::var("DOCKER_HOST").ok();
    let named = named.iter().filter_map(|host| host.strip_prefix("unix://"));
    named.chain(["/var/run/docker.sock"]).map(PathBuf::from).find(|socket| answers(socket))
}

/// Whether an engine says that it is well.
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

fn install() {
    let present = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if present("dockerd") && present("docker") && present("iptables") {
        return;
    }
    let allowed = std::env::var("CI").is_ok_and(|value| value == "true")
        || std::env::var("DOCKHOST_TEST_INSTALL_ENGINE").is_ok_and(|value| value == "1");
    assert!(
        allowed,
        "this test needs a container engine and none answers: start Docker, lead DOCKER_HOST to one (unix://…), or set \
         DOCKHOST_TEST_INSTALL_ENGINE=1 to let it install Debian's docker.io (as root)"
    );
    let apt = |words: &[&str]| {
        let output =
            Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(words).output().expect("apt-get");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let packages = ["install", "-y", "-qq", "--no-install-recommends", "docker.io", "iptables", "openssh-client"];
    if !apt(&packages).0 {
        // A fresh machine has no package lists yet.
        apt(&["update", "-qq"]);
        let (installed, errors) = apt(&packages);
        assert!(installed, "apt-get could not install docker.io: {errors}");
    }
}

/// The project's top folder, from whichever of its packages this is compiled into.
fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = package.ancestors().find(|dir| dir.join("images/test/build.sh").exists());
    top.unwrap_or(package).to_owned()
}
