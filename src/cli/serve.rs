//! `dockhost serve`: runs one replica in production.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::config::{ServerArgs, ServiceUrls};
use crate::app::secrets::Secrets;
use crate::app::{self, Shutdown};
use crate::common::port_owner;

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    urls: ServiceUrls,
    #[command(flatten)]
    server: ServerArgs,
    /// Milliseconds after SIGTERM for which `/health` answers 503 before the server stops to accept connections; longer
    /// than load balancers take to notice.
    #[arg(long, env = "DOCKHOST_SHUTDOWN_DELAY_MS", value_name = "MS", default_value_t = 6_000, help_heading = "API")]
    shutdown_delay_ms: u64,
}

impl Serve {
    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let secrets = Secrets::read(dockhost_environment::variable)?;
        let address = self.server.api.address();
        let listener = TcpListener::bind(address).await.with_context(|| port_owner::explain(address))?;
        let address = listener.local_addr()?;
        let ready = move || tracing::info!("the API is at http://{address}");
        let shutdown = Shutdown { stop, delay: Duration::from_millis(self.shutdown_delay_ms) };
        app::run(self.server, self.urls, secrets, listener, shutdown, ready).await?;
        Ok(ExitCode::SUCCESS)
    }
}
