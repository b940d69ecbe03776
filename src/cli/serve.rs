//! `dockhost serve`: runs one replica in production.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::app::config::{ServerArgs, ServiceUrls};
use crate::app::secrets::Secrets;
use crate::common::port_owner;

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    urls: ServiceUrls,
    #[command(flatten)]
    server: ServerArgs,
}

impl Serve {
    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let secrets = Secrets::read(dockhost_environment::variable)?;
        let address = self.server.api.address();
        let listener = TcpListener::bind(address).await.with_context(|| port_owner::explain(address))?;
        let address = listener.local_addr()?;
        let ready = move || tracing::info!("the API is at http://{address}");
        app::run(self.server, self.urls, secrets, listener, stop, ready).await?;
        Ok(ExitCode::SUCCESS)
    }
}
