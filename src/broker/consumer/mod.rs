//! JetStream consumers.
//!
//! - [`pull`]: one consumer and the pull requests to it. [`ordered`]: an ordered read through ephemeral consumers.
//! - [`durable`]: a durable consumer, read in batches by one role of the leader.

pub mod durable;
pub mod ordered;
pub mod pull;
