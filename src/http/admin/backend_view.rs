//! A backend, as administrators see it.

use dockhost_projections::backends::BackendDocument;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::version::Version;
use crate::http::views::{BackendWithHeartbeat, version_of_document};

/// A backend with its last heartbeat and the number of its instances.
#[derive(Serialize, ToSchema)]
pub struct AdminBackend {
    #[serde(flatten)]
    backend: BackendWithHeartbeat,
    /// Instances that are placed on it and not deleted.
    instances: u64,
    #[serde(skip)]
    version: Version,
}

impl AdminBackend {
    /// Joins a backend with the number of its instances; `stale_since` is the first sequence that the document lacks.
    pub fn new(app: &App, document: BackendDocument, stale_since: Option<u64>, instances: u64) -> Self {
        let version = version_of_document(&document);
        Self { backend: BackendWithHeartbeat::new(app, document, stale_since), instances, version }
    }

    /// The version of what administrators change of it.
    pub const fn version(&self) -> &Version {
        &self.version
    }
}
