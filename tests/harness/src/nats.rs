//! A broker of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dockhost::broker::connect::Broker;
use dockhost::dev::fetch;
use dockhost::dev::nats::NatsServer;
use dockhost::dev::secrets::Secrets;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use tempfile::TempDir;

/// A running nats-server with the project's `nats.conf`, fresh keys and an empty store. Gone when it is dropped.
pub struct Nats {
    // Dropped first: the server must not write into a directory that is being removed.
    server: Option<NatsServer>,
    address: SocketAddr,
    pub secrets: Secrets,
    pub data: TempDir,
}

impl Nats {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let secrets = Secrets::fresh().unwrap();
        let server = launch(&data, &secrets, (Ipv4Addr::LOCALHOST, 0).into()).await;
        Self { address: server.address(), server: Some(server), secrets, data }
    }

    /// The same, but it acknowledges before the disk has it, which is many times as fast: to be filled with a past, and
    /// then [reopened](Self::reopen) as it should be.
    pub async fn start_unsynced() -> Self {
        let data = tempfile::tempdir().unwrap();
        let secrets = Secrets::fresh().unwrap();
        let program = fetch::find(&fetch::NATS_SERVER, &super::target_tmp()).await.unwrap();
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let server = NatsServer::start_unsynced(&program, data.path(), &secrets, listen).await.unwrap();
        Self { address: server.address(), server: Some(server), secrets, data }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection as the main server.
    pub async fn main(&self) -> Broker {
        Broker::connect(&self.url(), &self.secrets.nats, "test", Duration::ZERO).await.unwrap()
    }

    /// The log on it, as a server opens it.
    pub async fn log(&self) -> JetStreamLog {
        let (_, master) =
            self.secrets.server_env().into_iter().find(|(name, _)| *name == "DOCKHOST_MASTER_KEY").unwrap();
        let client = self.main().await.client().clone();
        JetStreamLog::open(client, master.parse().unwrap(), LogOptions::default()).await.unwrap()
    }

    /// Stops it gently, and starts it again as it should be, at the same address with the same store.
    pub async fn reopen(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.restart().await;
    }

    /// The running process, to be paused or watched.
    pub fn server(&mut self) -> &mut NatsServer {
        self.server.as_mut().unwrap()
    }

    /// Kills it, as a crash would.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Starts it again after [`Nats::kill`], at the same address with the same store.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.server = Some(launch(&self.data, &self.secrets, self.address).await);
    }
}

async fn launch(data: &TempDir, secrets: &Secrets, listen: SocketAddr) -> NatsServer {
    let program = fetch::find(&fetch::NATS_SERVER, &super::target_tmp()).await.unwrap();
    NatsServer::start(&program, data.path(), secrets, listen).await.unwrap()
}
