//! Where a command that works beside running replicas finds the log and the read models.
//!
//! In: what [`Reach`] finds, and the server's settings. Out: both, opened.

use std::sync::Arc;

use clap::Args;
use dockhost_projections::store::MongoStore;

use super::reach::{self, Reach};
use crate::app::config::Settings;
use crate::broker::connect::Broker;
use crate::event_log::jetstream::{JetStreamLog, LogOptions};

/// Where the log and the models are.
#[derive(Debug, Args)]
pub struct Place {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    pub settings: Settings,
}

/// What is there.
pub struct Opened {
    pub broker: Broker,
    pub log: Arc<JetStreamLog>,
    pub store: MongoStore,
}

impl Place {
    /// Does some work there, and takes leave of the database when it is done.
    ///
    /// # Errors
    /// What is missing, or can't be reached; and the work's own.
    pub async fn with<T, F>(&self, work: impl FnOnce(Opened) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let opened = self.open().await?;
        let store = opened.store.clone();
        let done = work(opened).await;
        store.close().await;
        done
    }

    /// Connects, and sees that all of it answers.
    async fn open(&self) -> anyhow::Result<Opened> {
        let (secrets, connections) = self.reach.find()?;
        let broker = reach::connect(&secrets.nats, &connections, "dockhost-models").await?;
        let options = LogOptions { streams: self.settings.streams(), ..LogOptions::default() };
        let log = Arc::new(JetStreamLog::open(broker.client().clone(), secrets.master_key, options).await?);
        let store = MongoStore::connect(&connections.mongodb_uri, &self.settings.database).await?;
        store.ping().await?;
        Ok(Opened { broker, log, store })
    }
}
