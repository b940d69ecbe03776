//! The versions of resources that `ETag` shows, and commands that are decided on a version that their caller has seen.
//!
//! A version is a digest of what commands change of a resource, as it is in the log. An `ETag` is a version and a digest of the
//! whole answer, which also shows what changes by itself, such as whether a machine can be reached. `If-None-Match` is about
//! both, `If-Match` about the version alone: it is compared where the command is decided, on the state that the event follows.

use std::fmt;

use aws_lc_rs::digest;
use dockhost_domain::aggregate::{Aggregate, Command, CommandClass};
use serde::Serialize;

use super::extract::IfMatch;
use super::response::{ApiError, Code};

/// Bytes of a digest: far more than needed to tell the states of one resource apart.
const DIGEST_LENGTH: usize = 12;
/// Between the version and the digest of the answer.
pub const SEPARATOR: char = '.';

/// The version of a resource. Equal ones are of equal states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Of this state.
    pub fn of(state: &impl Serialize) -> Self {
        Self(digest_of(state))
    }

    /// The `ETag` of an answer that shows this version.
    pub fn etag(&self, answer: &impl Serialize) -> String {
        format!("\"{self}{SEPARATOR}{}\"", digest_of(answer))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The members of all states are in a fixed order.
fn digest_of(value: &impl Serialize) -> String {
    let hash = digest::digest(&digest::SHA256, &serde_json::to_vec(value).unwrap_or_default());
    const_hex::encode(hash.as_ref().get(..DIGEST_LENGTH).unwrap_or_default())
}

/// A command on the version that its caller has seen. `version` is that of the resource in a state; none if there is none,
/// which the command itself rejects.
pub struct OnVersion<C, V> {
    /// The versions.
    pub if_match: IfMatch,
    /// The version in a state.
    pub version: V,
    /// The command.
    pub command: C,
}

/// Why such a command is rejected.
#[derive(Debug, thiserror::Error)]
pub enum Refused<R> {
    /// The resource has another version.
    #[error("the resource was changed meanwhile")]
    Changed,
    /// By its own rules.
    #[error(transparent)]
    Rejected(R),
}

impl<R> Refused<R> {
    /// The answer, with that to a rejection.
    pub fn answer(self, rejected: impl FnOnce(R) -> ApiError) -> ApiError {
        match self {
            Self::Changed => changed(),
            Self::Rejected(rejection) => rejected(rejection),
        }
    }
}

/// The answer if the resource has another version.
pub fn changed() -> ApiError {
    ApiError::new(Code::PreconditionFailed, "it was changed meanwhile; get it again, and decide on what it is now")
}

impl<C, V> Command for OnVersion<C, V>
where
    C: Command,
    V: Fn(&C::Aggregate) -> Option<Version> + Send + Sync,
{
    type Aggregate = C::Aggregate;
    type Rejection = Refused<C::Rejection>;

    fn class(&self) -> CommandClass {
        self.command.class()
    }

    fn decide(
        &self,
        state: &C::Aggregate,
    ) -> Result<Option<<C::Aggregate as Aggregate>::Event>, Refused<C::Rejection>> {
        if !self.if_match.allows(|| (self.version)(state)) {
            return Err(Refused::Changed);
        }
        self.command.decide(state).map_err(Refused::Rejected)
    }
}
