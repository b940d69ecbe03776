//! Runs nats-server with the project's `nats.conf`, so that accounts, permissions and fsync are those of production.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::process::{Child, ProcessError, Program};
use super::secrets::{GeneratedSecrets, SecretsError};

const CONFIG: &str = include_str!("../../nats.conf");
/// nats-server reads its streams before it accepts clients.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running nats-server; it is killed when this is dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    address: SocketAddr,
}

/// Why nats-server did not start.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its keys are invalid.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Its data directory can't be written.
    #[error("{} can't be written", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
}

/// The file that nats-server writes when it listens.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl NatsServer {
    /// Starts nats-server on `listen` (port 0: any free port) with its streams and log file in `data`; returns when it
    /// accepts clients.
    ///
    /// # Errors
    /// [`NatsError`], with the end of the log if nats-server did not start.
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
        // For nats-server, -1 is any free port and 0 is the default port.
        let port = if listen.port() == 0 { "-1".to_owned() } else { listen.port().to_string() };
        env.push(("DOCKHOST_NATS_NAME", "dockhost".to_owned()));
        env.push(("DOCKHOST_NATS_LISTEN", format!("\"{}:{port}\"", listen.ip())));
        env.push(("DOCKHOST_NATS_WEBSOCKET_LISTEN", "\"127.0.0.1:0\"".to_owned()));
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

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Shuts nats-server down; the data stays.
    pub async fn stop(self) {
        self.child.stop(Duration::from_secs(10)).await;
    }

    /// Kills nats-server as a crash would; the data stays.
    pub async fn kill(self) {
        self.child.kill().await;
    }
}

/// The address in the file `<program>_<pid>.ports`; `None` until the file is complete.
fn client_address(directory: &Path, pid: u32) -> Option<SocketAddr> {
    let suffix = format!("_{pid}.ports");
    let mut files = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let file = files.find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix))?;
    let ports: Ports = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    ports.nats.first()?.strip_prefix("nats://")?.parse().ok()
}
