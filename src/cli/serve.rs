//! `dockhost serve`: runs one replica in production.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use dockhost_environment::settings::Setting;
use dockhost_environment::{InvalidConfiguration, variable};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::config::{ServerArgs, ServiceUrls};
use crate::app::secrets::Secrets;
use crate::app::{self, Shutdown};
use crate::common::port_owner;
use crate::http::server::{Listener, Tls, TlsFiles};

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
    /// Serve the API over TLS, with the certificate and its intermediates in this PEM file. It is read again when it
    /// changes [default: plain HTTP].
    #[arg(long, env = "DOCKHOST_TLS_CERT", value_name = "FILE", help_heading = "API")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file.
    #[arg(long, env = "DOCKHOST_TLS_KEY", value_name = "FILE", help_heading = "API")]
    tls_key: Option<PathBuf>,
}

impl Serve {
    /// Serves until `stop`. `settings` are its arguments, as administrators are shown them.
    pub async fn run(mut self, settings: Vec<Setting>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        self.server.in_force = app::settings::in_force(settings, variable);
        self.server.accounts.admin_password = variable("DOCKHOST_ADMIN_PASSWORD").map(Into::into);
        let secrets = Secrets::read(variable)?;
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::load(TlsFiles { certificate, key })?),
            (None, None) => None,
            _ => bail!(InvalidConfiguration(vec!["DOCKHOST_TLS_CERT and DOCKHOST_TLS_KEY need each other".to_owned()])),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = self.server.api.address(Ipv4Addr::UNSPECIFIED);
        let listener = TcpListener::bind(address).await.with_context(|| port_owner::explain(address))?;
        let address = listener.local_addr()?;
        let ready = move |_| tracing::info!("the API is at {scheme}://{address}");
        let listener = Listener { tcp: listener, tls };
        let shutdown = Shutdown { stop, delay: Duration::from_millis(self.shutdown_delay_ms) };
        app::run(self.server, self.urls, secrets, listener, shutdown, ready).await?;
        Ok(ExitCode::SUCCESS)
    }
}
