//! Errors of the store, by what the caller can do. The driver's error is only a source.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind};

/// An error of a lower layer, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No primary is reachable, or it was lost meanwhile. A write may have been applied; all writes can be repeated.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// No answer in time. The operation continues and may still succeed.
    #[error("the database did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The timeout.
        after: Duration,
    },
    /// The database rejected the operation; repeating it won't help.
    #[error("the database rejected the operation")]
    Rejected(#[source] Cause),
    /// The address or its options are not valid.
    #[error("the address of the database is not valid")]
    Address(#[source] Cause),
    /// A standalone server acknowledges writes that it can lose.
    #[error(
        "the database is not a replica set: start it with `--replSet` and initiate it, even if it is only one node"
    )]
    NotAReplicaSet,
    /// This version can't read a stored document; the model must be rebuilt.
    #[error("document {id} of {collection} cannot be read")]
    Malformed {
        /// Its collection.
        collection: String,
        /// Its id.
        id: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// `NotWritablePrimary` and similar: the node is not the primary, is shutting down, or has just been elected and has no
/// majority-committed snapshot yet (134, 246).
const NO_PRIMARY: [i32; 9] = [91, 134, 189, 246, 10107, 11600, 11602, 13435, 13436];

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
