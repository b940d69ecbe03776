//! One real nats-server on loopback, with the project's own `nats.conf`.
//!
//! In: the program, a data directory, the secrets, where to listen. Out: its URL once it accepts clients. The same file
//! configures production, so what holds here (accounts, permissions, fsync) holds there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::process::{Child, ProcessError, Program};
use super::secrets::{GeneratedSecrets, SecretsError};

const CONFIG: &str = include_str!("../../nats.conf");
/// A restart reads its streams first; those of a laptop take far less.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running broker; dropped, it is killed.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    address: SocketAddr,
}

/// The broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The program did not run, or not for long.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its keys are no good.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Its data directory can't be written.
    #[error("{} can't be written", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// What the server writes once it listens.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl NatsServer {
    /// Starts it on `listen` (port 0: any free one), with its streams and log file in `data`.
    ///
    /// # Errors
    /// [`NatsError`], with the end of its log if it did not start.
    pub async fn start(
        program: &Path,
        data: &Path,
        secrets: &GeneratedSecrets,
        listen: SocketAddr,
    ) -> Result<Self, NatsError> {
        let io = |source| NatsError::Io { path: data.to_owned(), source };
        std::fs::create_dir_all(data).map_err(io)?;
        let config = data.join("nats.conf");
        std::fs::write(&config, CONFIG).map_err(io)?;
        let mut env = secrets.broker_env()?;
        // The server's word for "any port" is -1; its 0 is the default port.
        let port = if listen.port() == 0 { "-1".to_owned() } else { listen.port().to_string() };
        env.push(("DOCKHOST_NATS_NAME", "dockhost".to_owned()));
        env.push(("DOCKHOST_NATS_LISTEN", format!("\"{}:{port}\"", listen.ip())));
        env.push(("DOCKHOST_NATS_STORE", format!("{:?}", data.join("store"))));
        let program = Program {
            name: "nats-server",
            path: program.to_owned(),
            args: vec!["-c".into(), config.into(), "--ports_file_dir".into(), data.into()],
            env,
            log: data.join("nats.log"),
        };
        let mut child = program.start()?;
        let address = child.wait_until_ready(START_TIMEOUT, async |pid| client_address(data, pid)).await?;
        Ok(Self { child, address })
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, to be paused, watched or killed.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Stops it gently; its data stays.
    pub async fn stop(self) {
        self.child.stop(Duration::from_secs(10)).await;
    }

    /// Kills it, as a crash would; its data stays.
    pub async fn kill(self) {
        self.child.kill().await;
    }
}

/// The address in the file `<program>_<pid>.ports`, once it is there and whole.
fn client_address(directory: &Path, pid: u32) -> Option<SocketAddr> {
    let suffix = format!("_{pid}.ports");
    let mut files = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let file = files.find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix))?;
    let ports: Ports = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    ports.nats.first()?.strip_prefix("nats://")?.parse().ok()
}
