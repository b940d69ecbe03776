//! JetStream consumers: pulled by hand, or durable and read in batches by one role of the leader.

pub mod durable;
pub mod pull;
