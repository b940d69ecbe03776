//! The broker and the database that a command connects to: those of a running `dockhost dev`, or of the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::app::config::ServiceUrls;
use crate::app::secrets::Secrets;
use crate::broker::connect::Broker;
use crate::dev::running;

/// How long a command retries to connect to the broker.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The servers to connect to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Data directory of `dockhost dev`; while that runs, the command uses its broker and database.
    #[arg(long, env = "DOCKHOST_DATA", value_name = "DIR", default_value = ".dockhost")]
    data: PathBuf,
    #[command(flatten)]
    urls: ServiceUrls,
}

impl ConnectionArgs {
    /// The secrets and the URLs.
    pub fn resolve(&self) -> anyhow::Result<(Secrets, ServiceUrls)> {
        match running::connection(&self.data)? {
            Some(running) => Ok(running),
            None => Ok((Secrets::read(dockhost_environment::variable)?, self.urls.clone())),
        }
    }
}

/// Connects to the broker as the main server.
pub async fn connect(nats: &SecretString, urls: &ServiceUrls, name: &str) -> anyhow::Result<Broker> {
    Ok(Broker::connect(&urls.nats_url, nats, name, CONNECT_DEADLINE).await?)
}
