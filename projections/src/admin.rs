//! Initiates the replica set of mongods that DockHost itself has started with `--replSet`.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;

/// The name of the replica set.
pub const REPLICA_SET_NAME: &str = "dockhost";

/// How long a member may take to answer, and to become the primary.
pub const PRIMARY_TIMEOUT: Duration = Duration::from_secs(30);
const ALREADY_INITIALIZED: i32 = 23;

/// How long members wait for a silent primary before they elect another one. MongoDB's default is 10 s, during which
/// GETs are refused.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The replica set could not be initiated.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database rejected the command or is unavailable.
    #[error("the database rejected the command or is unavailable")]
    Database(#[from] Error),
    /// The URI names no host.
    #[error("the URI names no host")]
    NoHost,
    /// There is no primary.
    #[error("no primary after {} s; the member replied {last}", PRIMARY_TIMEOUT.as_secs())]
    NoPrimary {
        /// The last reply to `hello`.
        last: Document,
    },
}

/// Initiates the set of the hosts in the URI, unless it is initiated, and waits until it has a primary.
///
/// # Errors
/// [`AdminError`].
pub async fn initiate_replica_set(uri: &str) -> Result<(), AdminError> {
    let hosts = ClientOptions::parse(uri).await?.hosts;
    let members: Vec<Document> =
        (0_i32..).zip(&hosts).map(|(id, host)| doc! { "_id": id, "host": host.to_string() }).collect();
    let client = direct_client(uri, PRIMARY_TIMEOUT).await?;
    let admin = client.database("admin");
    let election_millis = i64::try_from(ELECTION_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let settings = doc! { "electionTimeoutMillis": election_millis };
    let config = doc! { "_id": REPLICA_SET_NAME, "members": members, "settings": settings };
    match admin.run_command(doc! { "replSetInitiate": config }).await {
        Ok(_) => {}
        Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => {}
        Err(error) => return Err(error.into()),
    }
    let deadline = tokio::time::Instant::now() + PRIMARY_TIMEOUT;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let last = admin.run_command(doc! { "hello": 1 }).await?;
        // This member, or another one that it knows.
        if is_writable_primary(&last)
            || last.get_str("primary").is_ok_and(|primary| last.get_str("me").is_ok_and(|me| me != primary))
        {
            break;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(AdminError::NoPrimary { last });
        }
    }
    client.shutdown().await;
    Ok(())
}

/// Whether the first host in the URI is the primary.
///
/// # Errors
/// [`AdminError`], after `timeout` if the host does not answer.
#[cfg(feature = "testing")]
pub async fn is_primary(uri: &str, timeout: Duration) -> Result<bool, AdminError> {
    let client = direct_client(uri, timeout).await?;
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    client.shutdown().await;
    Ok(is_writable_primary(&hello?))
}

/// A client of the first host in the URI, whether it is the primary or not.
async fn direct_client(uri: &str, timeout: Duration) -> Result<Client, AdminError> {
    let mut options = ClientOptions::parse(uri).await?;
    options.hosts.truncate(1);
    if options.hosts.is_empty() {
        return Err(AdminError::NoHost);
    }
    options.direct_connection = Some(true);
    options.repl_set_name = None;
    options.server_selection_timeout = Some(timeout);
    Ok(Client::with_options(options)?)
}

fn is_writable_primary(hello: &Document) -> bool {
    hello.get_bool("isWritablePrimary").unwrap_or(false)
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
