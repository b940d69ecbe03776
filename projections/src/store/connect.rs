//! Connecting. In: the address and a database's name. Out: a [`MongoStore`] whose reads and writes are durable by
//! default: majority and journal on writes, majority and the primary on reads, so that nothing read is ever undone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::doc;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};

use super::error::StoreError;
use super::run::Runner;
use super::{Inner, MongoStore};

/// Connections per process, and operations at once.
const POOL_SIZE: u32 = 32;
/// How long a primary is looked for: a database that is down is noticed this fast.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl MongoStore {
    /// Takes the address (`mongodb://…`); connects at the first operation, so a database that is down is no error yet.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address can't be used.
    pub async fn connect(uri: &str, database: &str) -> Result<Self, StoreError> {
        let address = |error: mongodb::error::Error| StoreError::Address(error.into());
        let mut options = ClientOptions::parse(uri).await.map_err(address)?;
        options.app_name.get_or_insert_with(|| "dockhost".to_owned());
        options.max_pool_size = Some(POOL_SIZE);
        options.server_selection_timeout = Some(SELECTION_TIMEOUT);
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.retry_reads = Some(true);
        options.retry_writes = Some(true);
        let database = Client::with_options(options).map_err(address)?.database(database);
        let names = Mutex::new(BTreeMap::new());
        Ok(Self { inner: Arc::new(Inner { database, runner: Runner::new(POOL_SIZE), names }) })
    }

    /// Asks the primary for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] within about two seconds if there is none; [`StoreError::NotAReplicaSet`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let hello =
            self.run(|database: Database| async move { database.run_command(doc! { "hello": 1 }).await }).await?;
        if hello.contains_key("setName") { Ok(()) } else { Err(StoreError::NotAReplicaSet) }
    }
}
