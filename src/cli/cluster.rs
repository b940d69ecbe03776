//! Where a command that works beside running replicas finds the log and the read models.
//!
//! In: what [`ConnectionArgs`] finds, and the server's settings. Out: both, opened.

use std::sync::Arc;

use clap::Args;
use dockhost_projections::store::MongoStore;

use super::connection::{self, ConnectionArgs};
use crate::app::config::StorageArgs;
use crate::broker::connect::Broker;
use crate::event_log::jetstream::{JetStreamLog, LogOptions};

/// Where the log and the models are.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// What is there.
pub struct Cluster {
    pub broker: Broker,
    pub log: Arc<JetStreamLog>,
    pub store: MongoStore,
}

impl ClusterArgs {
    /// Does some work there, and takes leave of the database when it is done.
    ///
    /// # Errors
    /// What is missing, or can't be reached; and the work's own.
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

    /// Connects, and sees that all of it answers.
    async fn open(&self) -> anyhow::Result<Cluster> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-models").await?;
        let options = LogOptions { streams: self.storage.streams.options(), ..LogOptions::default() };
        let log = Arc::new(JetStreamLog::open(broker.client().clone(), secrets.master_key, options).await?);
        let store = MongoStore::connect(&urls.mongodb_uri, &self.storage.database).await?;
        store.ping().await?;
        Ok(Cluster { broker, log, store })
    }
}
