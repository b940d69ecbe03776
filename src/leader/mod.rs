//! The leader's roles.
pub mod dispatcher;
pub mod election;
pub mod liveness;
