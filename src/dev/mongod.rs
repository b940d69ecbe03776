//! One real mongod on loopback, as a replica set of one (transactions and majority writes need a set).
//!
//! In: the program and a data directory. Out: its URI once it accepts writes. A member of a set must keep its port, so
//! the first start chooses a free one and records it beside the data.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockhost_projections::admin::{self, AdminError};
use tokio::net::TcpStream;

use super::process::{self, Child, ProcessError, Program};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running database; dropped, it is killed.
#[derive(Debug)]
pub struct Mongod {
    child: Child,
    port: u16,
}

/// The database did not start.
#[derive(Debug, thiserror::Error)]
pub enum MongodError {
    /// The program did not run, or not for long.
    #[error("{0}\n(mongod needs a processor with AVX, and the libraries of libcurl4 and OpenSSL 3)")]
    Process(#[from] ProcessError),
    /// It runs, but is no set.
    #[error("the replica set could not be made")]
    Set(#[from] AdminError),
    /// Its data directory can't be used.
    #[error("{} can't be used", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Mongod {
    /// Starts it with its data and log file in `data`.
    ///
    /// # Errors
    /// [`MongodError`], with the end of its log if it did not start.
    pub async fn start(program: &Path, data: &Path) -> Result<Self, MongodError> {
        let port = recorded_port(data).map_err(|source| MongodError::Io { path: data.to_owned(), source })?;
        let mut child = mongod_program(program, data, port).start()?;
        child
            .wait_until_ready(START_TIMEOUT, async |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok())
            .await?;
        admin::initiate_replica_set(&uri(port)).await?;
        Ok(Self { child, port })
    }

    /// Where clients connect.
    #[must_use]
    pub fn uri(&self) -> String {
        uri(self.port)
    }

    /// The process, to be paused, watched or killed.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Stops it gently; its data stays.
    pub async fn stop(self) {
        self.child.stop(Duration::from_secs(20)).await;
    }

    /// Kills it, as a crash would; its data stays.
    pub async fn kill(self) {
        self.child.kill().await;
    }
}

/// Starts one that several processes share, killed when the process `owner` ends, and returns its URI.
///
/// # Errors
/// [`MongodError`].
pub async fn start_owned_by(owner: u32, program: &Path, data: &Path) -> Result<String, MongodError> {
    let port = recorded_port(data).map_err(|source| MongodError::Io { path: data.to_owned(), source })?;
    let program = mongod_program(program, data, port);
    let (name, log) = (program.name, program.log.clone());
    program.start_owned_by(owner)?;
    match admin::initiate_replica_set(&uri(port)).await {
        Ok(()) => Ok(uri(port)),
        Err(AdminError::Database(error)) => {
            tracing::debug!(%error, "no replica set");
            Err(ProcessError::NotReady { name, waited: admin::PRIMARY_TIMEOUT, tail: process::tail(&log), log }.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn uri(port: u16) -> String {
    // A direct connection: the set has one member, and looking for others would only take time.
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

fn mongod_program(program: &Path, data: &Path, port: u16) -> Program {
    let mut args: Vec<OsString> = vec!["--dbpath".into(), data.join("db").into(), "--port".into()];
    args.push(port.to_string().into());
    args.extend(["--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", admin::REPLICA_SET_NAME].map(OsString::from));
    // The models are small and can be rebuilt: no room for a history, a modest cache, no diagnostic recordings.
    args.extend(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"].map(OsString::from));
    args.extend(["--setParameter", "diagnosticDataCollectionEnabled=false"].map(OsString::from));
    // Its log tells of slow operations with the whole documents, people in them.
    args.extend(["--slowOpSampleRate", "0"].map(OsString::from));
    Program { name: "mongod", path: program.to_owned(), args, env: vec![], log: data.join("mongod.log") }
}

/// The port in `<data>/port`; a free one, if there is none yet.
fn recorded_port(data: &Path) -> std::io::Result<u16> {
    std::fs::create_dir_all(data.join("db"))?;
    let record = data.join("port");
    if let Ok(text) = std::fs::read_to_string(&record)
        && let Ok(port) = text.trim().parse()
    {
        return Ok(port);
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    std::fs::write(&record, port.to_string())?;
    Ok(port)
}
