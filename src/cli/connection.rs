//! How commands beside a server find the broker. In: flags, environment, the data directory of `dockhost dev`. Out:
//! addresses and secrets: those of a `dockhost dev` that runs, or else the environment's.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::app::config::ServiceUrls;
use crate::app::secrets::Secrets;
use crate::broker::connect::Broker;
use crate::dev::running;

/// The broker may be this much later.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Where the servers are.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// The data directory of `dockhost dev`, whose broker is used if it runs.
    #[arg(long, env = "DOCKHOST_DATA", default_value = ".dockhost")]
    data: PathBuf,
    #[command(flatten)]
    urls: ServiceUrls,
}

impl ConnectionArgs {
    /// Addresses and checked secrets.
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
