//! What every replica knows: the log as it follows it, the fleet, heartbeats, and the progress of the read models.

pub mod bootstrap;
pub mod facts;
pub mod fleet;
pub mod follower;
pub mod heartbeat_registry;
pub mod projection_progress;
pub mod watchers;
