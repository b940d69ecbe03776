//! Why the store could not do something, in terms that a caller can act on; the driver's own error is only a source.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind};

/// An error of the layer below, kept for the service's own log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No primary can be reached, or it went away meanwhile. A write may have happened; all writes here can be repeated.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// No answer in time; the operation goes on by itself and may still succeed.
    #[error("the database did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The database said no; repeating it will not help.
    #[error("the database refused the operation")]
    Rejected(#[source] Cause),
    /// The address or the options cannot be used.
    #[error("the database's address is not usable")]
    Address(#[source] Cause),
    /// A lone server acknowledges writes that it can lose.
    #[error(
        "the database is not a replica set: start it with `--replSet` and initiate it, even if it is only one node"
    )]
    NotAReplicaSet,
    /// A stored document is not what this version writes; the model must be rebuilt.
    #[error("document {id} of {collection} cannot be read")]
    Malformed {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// `NotWritablePrimary` and its kin: the node is no primary (any more), or is going down.
const NO_PRIMARY: [i32; 7] = [91, 189, 10107, 11600, 11602, 13435, 13436];

impl StoreError {
    pub(crate) fn rejected(why: impl Into<Cause>) -> Self {
        Self::Rejected(why.into())
    }

    pub(crate) fn from_driver(error: Error) -> Self {
        let gone = match error.kind.as_ref() {
            ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. } => true,
            ErrorKind::Command(command) => NO_PRIMARY.contains(&command.code),
            _ => error.contains_label("RetryableWriteError"),
        };
        if gone { Self::Unavailable(error.into()) } else { Self::Rejected(error.into()) }
    }
}
