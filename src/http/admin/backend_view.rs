//! A backend, as administrators see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::views::BackendWithHeartbeat;

/// A backend with its last heartbeat and the number of its instances.
#[derive(Serialize, ToSchema)]
pub struct AdminBackend {
    #[serde(flatten)]
    backend: BackendWithHeartbeat,
    /// Instances that are placed on it and not deleted.
    instances: u64,
}

impl AdminBackend {
    /// Joins a backend with the number of its instances.
    pub const fn new(backend: BackendWithHeartbeat, instances: u64) -> Self {
        Self { backend, instances }
    }
}
