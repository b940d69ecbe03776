//! How commands beside a server find the broker. In: flags, environment, the data directory of `dockhost dev`. Out:
//! addresses and secrets: those of a `dockhost dev` that runs, or else the environment's.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::app::config::{Checked, Connections, Secrets};
use crate::broker::connect::Broker;
use crate::dev::offline;

/// The broker may be this much later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the servers are.
#[derive(Debug, Args)]
pub struct Reach {
    /// The data directory of `dockhost dev`, whose broker is used if it runs.
    #[arg(long, env = "DOCKHOST_DATA", default_value = ".dockhost")]
    data: PathBuf,
    #[command(flatten)]
    connections: Connections,
}

impl Reach {
    /// Addresses and checked secrets.
    pub fn find(&self) -> anyhow::Result<(Checked, Connections)> {
        let (secrets, connections) = match offline::running(&self.data)? {
            Some(running) => running,
            None => (Secrets::read(|name| std::env::var(name).ok()), self.connections.clone()),
        };
        Ok((secrets.check()?, connections))
    }
}

/// Connects to the broker as the main server.
pub async fn connect(nats: &SecretString, connections: &Connections, name: &str) -> anyhow::Result<Broker> {
    Ok(Broker::connect(&connections.nats_url, nats, name, PATIENCE).await?)
}
