//! State that every replica keeps in memory: the followed log, its last entries and its size, the fleet, heartbeats, the
//! projections' progress, and whether the broker's streams have leaders; the confirm service, which answers agents from it;
//! and the builder of read models in newer fold versions.

pub mod bootstrap;
pub mod confirm;
pub mod facts;
pub mod feed;
pub mod fleet;
pub mod fleet_health;
pub mod follower;
pub mod heartbeat_registry;
pub mod log_monitor;
pub mod mass_failure;
pub mod model_builder;
pub mod presence;
mod projection_lag;
pub mod projection_progress;
pub mod refusal_trend;
pub mod role_watch;
pub mod standstill;
pub mod stream_watch;
pub mod watchers;
