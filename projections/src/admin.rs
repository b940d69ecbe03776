//! Making a lone mongod a replica set of one.
//!
//! In: the URI of a mongod that was started with `--replSet`. Out: a primary that takes majority writes. Only a server
//! started by DockHost itself needs this; a production set comes made.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;

/// The name of the set.
pub const SET: &str = "dockhost";

/// How long a member is given to answer and to become the primary.
pub const PATIENCE: Duration = Duration::from_secs(30);
const ALREADY_INITIALIZED: i32 = 23;

/// The set could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database refused or could not be reached.
    #[error("the database refused or could not be reached")]
    Database(#[from] Error),
    /// The URI names no host.
    #[error("the URI names no host")]
    NoHost,
    /// The set has no primary; the last thing that its member said is given.
    #[error("no primary after {} s; the member said {last}", PATIENCE.as_secs())]
    NoPrimary {
        /// The last answer to `hello`.
        last: Document,
    },
}

/// Initiates the set if it is not yet, and waits until its one member is the primary. The URI must be a direct one.
///
/// # Errors
/// [`AdminError`].
pub async fn initiate_replica_set(uri: &str) -> Result<(), AdminError> {
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(PATIENCE);
    let host = options.hosts.first().ok_or(AdminError::NoHost)?.to_string();
    let client = Client::with_options(options)?;
    let admin = client.database("admin");
    let config = doc! { "_id": SET, "members": [{ "_id": 0, "host": host }] };
    match admin.run_command(doc! { "replSetInitiate": config }).await {
        Ok(_) => {}
        Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => {}
        Err(error) => return Err(error.into()),
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let last = admin.run_command(doc! { "hello": 1 }).await?;
        if last.get_bool("isWritablePrimary").unwrap_or(false) {
            break;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(AdminError::NoPrimary { last });
        }
    }
    client.shutdown().await;
    Ok(())
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
