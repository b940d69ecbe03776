//! Opens the log and the read models for a command that runs beside the replicas.

use std::sync::Arc;

use clap::Args;
use dockhost_projections::store::MongoStore;

use super::connection::{self, ConnectionArgs};
use crate::app::config::DatabaseArgs;
use crate::broker::connect::Broker;
use crate::event_log::jetstream::JetStreamLog;

/// Names the log and the read models.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The log and the read models, opened.
pub struct Cluster {
    pub broker: Broker,
    pub log: Arc<JetStreamLog>,
    pub store: MongoStore,
}

impl ClusterArgs {
    /// Runs `work`, then closes the database.
    ///
    /// # Errors
    /// A secret is invalid, a server can't be reached, or `work` failed.
    pub async fn with<T, F>(&self, work: impl FnOnce(Cluster) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let cluster = self.open().await?;
        let store = cluster.store.clone();
        let done = work(cluster).await;
        store.close().await;
        done
    }

    /// Connects to the broker and the database; fails if one doesn't respond.
    async fn open(&self) -> anyhow::Result<Cluster> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-models").await?;
        let log = Arc::new(JetStreamLog::open_existing(broker.client().clone(), secrets.master_key).await?);
        let store = MongoStore::connect(&urls.mongodb_uri, &self.database.name(&urls)).await?;
        store.ping().await?;
        Ok(Cluster { broker, log, store })
    }
}
