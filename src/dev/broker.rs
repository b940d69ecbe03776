//! The broker of `dockhost dev`. nats-server does not store again by itself after its disk was full, so it is restarted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::log_limit::free_bytes;
use super::nats::{NatsError, NatsServer};
use super::process::ProcessError;
use super::secrets::GeneratedSecrets;

/// How often the age of the last acknowledged write is read.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The broker is restarted when it has stored nothing for so long.
const MAX_WRITE_AGE: Duration = Duration::from_secs(15);
/// The shortest time between two restarts.
const MIN_RESTART_INTERVAL: Duration = Duration::from_secs(60);
/// Restarts in one run; more of them would hide something else.
const MAX_RESTARTS: u32 = 10;
/// Without so much free space a restart is in vain.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// A running broker, and what is needed to start it again.
pub struct DevBroker {
    program: PathBuf,
    data: PathBuf,
    secrets: GeneratedSecrets,
    address: SocketAddr,
    /// `None` only while it is restarted.
    server: Option<NatsServer>,
    restarts: u32,
    last_restart: Option<Instant>,
}

impl DevBroker {
    /// Starts the broker; see [`NatsServer::start`].
    ///
    /// # Errors
    /// [`NatsError`].
    pub async fn start(
        program: PathBuf,
        data: PathBuf,
        secrets: GeneratedSecrets,
        listen: SocketAddr,
    ) -> Result<Self, NatsError> {
        let server = NatsServer::start(&program, &data, &secrets, listen).await?;
        let address = server.address();
        Ok(Self { program, data, secrets, address, server: Some(server), restarts: 0, last_restart: None })
    }

    /// The URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Waits until the process exits.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        match &mut self.server {
            Some(server) => server.process().wait().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until a restart is needed and may help: nothing was stored for a while, and there is room.
    pub fn until_restart_is_due<F: Fn() -> Duration>(&self, write_age: F) -> impl Future<Output = ()> + use<F> {
        let (restarts, last_restart, data) = (self.restarts, self.last_restart, self.data.clone());
        async move {
            loop {
                sleep(CHECK_INTERVAL).await;
                let is_allowed =
                    restarts < MAX_RESTARTS && last_restart.is_none_or(|last| last.elapsed() >= MIN_RESTART_INTERVAL);
                let has_room = || free_bytes(&data).is_ok_and(|free| free >= MIN_FREE_BYTES);
                if write_age() >= MAX_WRITE_AGE && is_allowed && has_room() {
                    return;
                }
            }
        }
    }

    /// Restarts the broker at its address with its data.
    ///
    /// # Errors
    /// [`NatsError`] if it does not start.
    pub async fn restart(&mut self) -> Result<(), NatsError> {
        (self.restarts, self.last_restart) = (self.restarts + 1, Some(Instant::now()));
        tracing::warn!(restart = self.restarts, of = MAX_RESTARTS, "the broker stores nothing any more; restarting it");
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.server = Some(NatsServer::start(&self.program, &self.data, &self.secrets, self.address).await?);
        Ok(())
    }

    /// Shuts the broker down; the data stays.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}
