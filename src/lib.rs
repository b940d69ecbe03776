//! The DockHost main server.

pub mod clock;
pub mod event_log;
pub mod execute;
pub mod follower;
