//! The agent's process ends soon after SIGTERM, whatever does not answer, and at once at a second signal.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The limit that `docs/OPERATIONS.md` promises.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Time for the agent to log an expected line.
const LOG_TIMEOUT: Duration = Duration::from_secs(30);

/// A running agent and the lines of its log.
struct Agent {
    process: Child,
    log: Receiver<String>,
}

impl Agent {
    fn start(dir: &Path, broker: SocketAddr, arguments: &[&str]) -> Self {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"0193b3a0-0000-7000-8000-000000000001"}"#);
        let mut process = Command::new(env!("CARGO_BIN_EXE_dockhost-agent"))
            .args(arguments)
            .arg("--state-dir")
            .arg(dir)
            .env_clear()
            .env("DOCKHOST_API_KEY", format!("a.{claims}.c"))
            .env("NATS_URL", format!("nats://user:password@{broker}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, log }
    }

    fn wait_for(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(LOG_TIMEOUT) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("the log does not contain {text:?}:\n{}", seen.join("\n")),
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end, which must come within the limit.
    fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < limit, "still running {limit:?} after the signal");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A broker's address, and what it does with the agent's connections.
struct Broker {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
    gone: Arc<AtomicBool>,
}

impl Broker {
    /// Accepts connections, and answers each as a broker that accepts the key, or as one that refuses it.
    fn start(refuses: bool) -> Self {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let ((sender, connections), gone) = (channel(), Arc::new(AtomicBool::new(false)));
        let is_gone = Arc::clone(&gone);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !is_gone.load(Ordering::SeqCst) {
                    let answered = stream.try_clone().unwrap();
                    std::thread::spawn(move || answer(answered, refuses));
                }
                // Also keeps the connection open.
                let _ = sender.send(stream);
            }
        });
        Self { address, connections, gone }
    }

    /// Ends a connection; later ones get no answer, like those to a machine that is cut off.
    fn leave(&self, connection: &TcpStream) {
        self.gone.store(true, Ordering::SeqCst);
        connection.shutdown(Shutdown::Both).unwrap();
    }
}

fn answer(stream: TcpStream, refuses: bool) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let info = r#"{"server_id":"test","version":"2.15.1","go":"","host":"","port":0,"max_payload":16384,"headers":true,"auth_required":true,"proto":1}"#;
    write!(writer, "INFO {info}\r\n").ok()?;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.starts_with("CONNECT") && refuses {
            return writer.write_all(b"-ERR 'Authorization Violation'\r\n").ok();
        }
        if line == "PING" {
            writer.write_all(b"PONG\r\n").ok()?;
        }
    }
    Some(())
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

#[test]
fn agent_stopped_while_no_broker_listens_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let address = listener().local_addr().unwrap();
    let mut agent = Agent::start(dir.path(), address, &["--runtime", "simulated"]);
    let line = agent.wait_for("could not connect to the broker");
    assert!(line.contains(&address.to_string()) && !line.contains("password"), "{line}");
    agent.signal("-TERM");
    assert!(agent.wait_for_end(STOP_LIMIT).success());
}

#[test]
fn agent_stopped_while_its_key_is_refused_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(true);
    let mut agent = Agent::start(dir.path(), broker.address, &["--runtime", "simulated"]);
    // The broker's answer does not tell whether a server refused the key.
    let line = agent.wait_for("refused the API key");
    assert!(line.contains("WARN") && line.contains("no server is running"), "{line}");
    agent.signal("-INT");
    assert!(agent.wait_for_end(STOP_LIMIT).success());
}

/// An agent that was connected to a broker, which is gone.
fn agent_without_broker(dir: &Path) -> (Agent, Broker) {
    let broker = Broker::start(false);
    let agent = Agent::start(dir, broker.address, &["--runtime", "simulated"]);
    let connection = broker.connections.recv_timeout(LOG_TIMEOUT).unwrap();
    agent.wait_for("hello failed");
    broker.leave(&connection);
    agent.wait_for("lost the connection");
    (agent, broker)
}

#[test]
fn agent_stopped_after_its_broker_went_away_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, _broker) = agent_without_broker(dir.path());
    agent.signal("-TERM");
    assert!(agent.wait_for_end(STOP_LIMIT).success());
}

#[test]
fn agent_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, _broker) = agent_without_broker(dir.path());
    // While the process is paused, both signals become pending, so that it can't end in between.
    for name in ["-STOP", "-TERM", "-INT", "-CONT"] {
        agent.signal(name);
    }
    let code = agent.wait_for_end(STOP_LIMIT).code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
}

#[test]
fn agent_stopped_while_the_engine_does_not_answer_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let engine = UnixListener::bind(&socket).unwrap();
    let host = format!("unix://{}", socket.display());
    let mut agent = Agent::start(dir.path(), listener().local_addr().unwrap(), &["--docker-host", &host]);
    let _connection = engine.accept().unwrap();
    agent.signal("-TERM");
    assert!(agent.wait_for_end(STOP_LIMIT).success());
}
