//! The messages of the auth callout: NATS JWTs, version 2.
//!
//! A NATS JWT is a JWS over Ed25519 whose keys are nkeys and whose algorithm has a name of its own, so general JWT
//! libraries don't read it.
//!
//! - `request`: the broker's authorization request. `signer`: the signed responses. `permissions`: what a user JWT
//!   confines a backend to.

mod permissions;
mod request;
mod signer;
#[cfg(test)]
mod tests;

pub use permissions::{CHECK_SUBJECT, Permissions};
pub use request::{AuthRequest, InvalidRequest};
pub use signer::{MAX_LIFETIME, SignError, Signer};

/// `{"typ":"JWT","alg":"ed25519-nkey"}`
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ";
