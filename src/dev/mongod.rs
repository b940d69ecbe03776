//! Runs mongod on loopback as a replica set with one member; transactions and majority writes need a replica set.
//!
//! A member must keep its port, so the first start chooses a free port and stores it beside the data.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockhost_projections::admin::{self, AdminError};
use tokio::net::TcpStream;

use super::process::{self, Child, ProcessError, Program};

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running mongod; it is killed when this is dropped.
#[derive(Debug)]
pub struct Mongod {
    child: Child,
    port: u16,
}

/// Why mongod did not start.
#[derive(Debug, thiserror::Error)]
pub enum MongodError {
    /// The process failed.
    #[error("{0}\n(mongod needs a processor with AVX, and the libraries of libcurl4 and OpenSSL 3)")]
    Process(#[from] ProcessError),
    /// The replica set was not created.
    #[error("the replica set could not be created")]
    Set(#[from] AdminError),
    /// Its data directory can't be used.
    #[error("{} can't be used", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
}

impl Mongod {
    /// Starts mongod with its data and log file in `data`; returns when it accepts writes.
    ///
    /// # Errors
    /// [`MongodError`], with the end of the log if mongod did not start.
    pub async fn start(program: &Path, data: &Path) -> Result<Self, MongodError> {
        let port = recorded_port(data).map_err(|source| MongodError::Io { path: data.to_owned(), source })?;
        let mut child = mongod_program(program, data, port).start()?;
        child
            .wait_until_ready(START_TIMEOUT, async |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok())
            .await?;
        admin::initiate_replica_set(&uri(port)).await?;
        Ok(Self { child, port })
    }

    /// The URI for clients.
    #[must_use]
    pub fn uri(&self) -> String {
        uri(self.port)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Shuts mongod down; the data stays.
    pub async fn stop(self) {
        self.child.stop(Duration::from_secs(20)).await;
    }

    /// Kills mongod as a crash would; the data stays.
    pub async fn kill(self) {
        self.child.kill().await;
    }
}

/// Starts a mongod that several processes share and that is killed when the process `owner` ends; returns its URI.
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
            tracing::debug!(%error, "the replica set was not created");
            Err(ProcessError::NotReady { name, waited: admin::PRIMARY_TIMEOUT, tail: process::tail(&log), log }.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn uri(port: u16) -> String {
    // A direct connection saves the search for other members.
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

fn mongod_program(program: &Path, data: &Path, port: u16) -> Program {
    let mut args: Vec<OsString> = vec!["--dbpath".into(), data.join("db").into(), "--port".into()];
    args.push(port.to_string().into());
    args.extend(["--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", admin::REPLICA_SET_NAME].map(OsString::from));
    // The read models are small and can be rebuilt, so a small cache and a small oplog are enough.
    args.extend(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"].map(OsString::from));
    args.extend(["--setParameter", "diagnosticDataCollectionEnabled=false"].map(OsString::from));
    // The log of slow operations would show whole documents with personal data.
    args.extend(["--slowOpSampleRate", "0"].map(OsString::from));
    Program { name: "mongod", path: program.to_owned(), args, env: vec![], log: data.join("mongod.log") }
}

/// The port in `<data>/port`; at the first start, a free port.
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
