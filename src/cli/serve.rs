//! `dockhost serve`: runs one replica in production.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
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

/// The arguments and secrets of a replica, checked.
pub struct Checked {
    /// What it can be configured with.
    pub server: ServerArgs,
    /// The servers that it connects to.
    pub urls: ServiceUrls,
    /// Its secrets.
    pub secrets: Secrets,
    tls: Option<Arc<Tls>>,
    shutdown_delay: Duration,
}

impl Serve {
    /// Serves until `stop`. `problems` are those of its arguments; `settings` are its arguments, as administrators are
    /// shown them.
    pub async fn run(
        self,
        problems: Vec<String>,
        settings: Vec<Setting>,
        stop: CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let Checked { mut server, urls, secrets, tls, shutdown_delay: delay } = self.check(problems)?;
        server.in_force = app::settings::in_force(settings, variable);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = server.api.address(Ipv4Addr::UNSPECIFIED);
        let listener = TcpListener::bind(address).await.with_context(|| port_owner::explain(address))?;
        let address = listener.local_addr()?;
        let ready = move |_| tracing::info!("the API is at {scheme}://{address}");
        let listener = Listener { tcp: listener, tls };
        app::run(server, urls, secrets, listener, Shutdown { stop, delay }, ready).await?;
        Ok(ExitCode::SUCCESS)
    }

    /// Reads and checks everything that can be checked without a server, so that one message names all that is wrong.
    /// `problems` are those of its arguments.
    ///
    /// # Errors
    /// Everything that is wrong. No sentence has a secret.
    pub fn check(self, mut problems: Vec<String>) -> Result<Checked, InvalidConfiguration> {
        let Self { urls, mut server, shutdown_delay_ms, tls_cert, tls_key } = self;
        let secrets = Secrets::read(variable).map_err(|InvalidConfiguration(found)| problems.extend(found)).ok();
        let tls = load_tls(tls_cert, tls_key).map_err(|problem| problems.push(problem)).ok();
        server.accounts.admin_password = variable("DOCKHOST_ADMIN_PASSWORD").map(Into::into);
        // A name that is invalid counts as absent, so the password would seem to lack one.
        let has_valid_name = !problems.iter().any(|problem| problem.starts_with("DOCKHOST_ADMIN_USERNAME"));
        if has_valid_name && let Err(InvalidConfiguration(found)) = server.accounts.first_admin() {
            problems.extend(found);
        }
        match (secrets, tls) {
            (Some(secrets), Some(tls)) if problems.is_empty() => {
                let shutdown_delay = Duration::from_millis(shutdown_delay_ms);
                Ok(Checked { server, urls, secrets, tls, shutdown_delay })
            }
            _ => Err(InvalidConfiguration(problems)),
        }
    }
}

/// The certificate and its key, if the API is to be served over TLS.
fn load_tls(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Arc<Tls>>, String> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let loaded = Tls::load(TlsFiles { certificate, key });
            loaded.map(Some).map_err(|error| format!("DOCKHOST_TLS_CERT and DOCKHOST_TLS_KEY: {error:#}"))
        }
        (None, None) => Ok(None),
        _ => Err("DOCKHOST_TLS_CERT and DOCKHOST_TLS_KEY need each other".to_owned()),
    }
}
