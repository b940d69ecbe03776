//! Connects to the database. Writes are acknowledged by a majority and its journals, reads are of majority-committed data
//! on the primary, so nothing that was read is rolled back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::doc;
use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Database};

use super::error::StoreError;
use super::run::Runner;
use super::{Inner, MongoStore};

/// Connections per process, and concurrent operations.
const POOL_SIZE: u32 = 32;
/// The timeout for finding a primary, i.e. for noticing that the database is down.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// MongoDB's own databases. An address may name `admin` because the users are there.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "config", "local"];

impl MongoStore {
    /// Opens a database at this address (`mongodb://…`). The driver connects at the first operation, so a database that is
    /// down is not an error here.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the address is not valid.
    pub async fn connect(uri: &str, database: &str) -> Result<Self, StoreError> {
        let options = options(uri).await?;
        // 0 means no limit.
        let width = options.max_pool_size.filter(|size| *size > 0).unwrap_or(u32::MAX);
        let client = Client::with_options(options).map_err(|error| StoreError::Address(error.into()))?;
        let (database, live_collections) = (client.database(database), Mutex::new(BTreeMap::new()));
        Ok(Self { inner: Arc::new(Inner { database, runner: Runner::new(width), live_collections }) })
    }

    /// Whether this is the address of a database (`mongodb://…`).
    #[must_use]
    pub fn is_address(uri: &str) -> bool {
        ConnectionString::parse(uri).is_ok()
    }

    /// The database that an address names (`mongodb://host/name`), unless it is one of MongoDB's own.
    #[must_use]
    pub fn database_in(uri: &str) -> Option<String> {
        let named = ConnectionString::parse(uri).ok()?.default_database?;
        (!SYSTEM_DATABASES.contains(&named.as_str())).then_some(named)
    }

    /// Checks that a primary of a replica set answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] after about two seconds without a primary; [`StoreError::NotAReplicaSet`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let hello =
            self.run(|database: Database| async move { database.run_command(doc! { "hello": 1 }).await }).await?;
        if hello.contains_key("setName") { Ok(()) } else { Err(StoreError::NotAReplicaSet) }
    }
}

/// The driver's options for an address: what it says about the pool and the timeouts counts, with these defaults; what keeps
/// the read models consistent is not its choice.
async fn options(uri: &str) -> Result<ClientOptions, StoreError> {
    let mut options = ClientOptions::parse(uri).await.map_err(|error| StoreError::Address(error.into()))?;
    options.app_name.get_or_insert_with(|| "dockhost".to_owned());
    options.max_pool_size.get_or_insert(POOL_SIZE);
    options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.retry_reads = Some(true);
    options.retry_writes = Some(true);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_of_an_address_win_over_the_defaults_but_not_over_consistency() {
        let plain = options("mongodb://127.0.0.1:27017/").await.unwrap();
        assert_eq!(plain.max_pool_size, Some(POOL_SIZE));
        assert_eq!(
            (plain.server_selection_timeout, plain.connect_timeout),
            (Some(SELECTION_TIMEOUT), Some(CONNECT_TIMEOUT))
        );
        let chosen = "maxPoolSize=7&serverSelectionTimeoutMS=500&connectTimeoutMS=400&w=1&readConcernLevel=local";
        let chosen = options(&format!("mongodb://127.0.0.1:27017/?{chosen}")).await.unwrap();
        assert_eq!(chosen.max_pool_size, Some(7));
        assert_eq!(chosen.server_selection_timeout, Some(Duration::from_millis(500)));
        assert_eq!(chosen.connect_timeout, Some(Duration::from_millis(400)));
        assert_eq!(chosen.read_concern, plain.read_concern);
        assert_eq!(chosen.write_concern, plain.write_concern);
    }
}
