//! What this server counts and measures, in the text format of OpenMetrics.
//!
//! Each server has its own [`Metrics`]; nothing is global. What happens is recorded where it happens; what is so at a moment
//! is set when somebody asks (`http::metrics`). No label names a user, an instance or a backend: their values are bounded.
//! `docs/OPERATIONS.md` has the table. [`charts`] keeps the figures of the last day.

pub mod charts;
mod leader;
mod log;
pub mod memory;
mod requests;
mod state;
mod webhooks;

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::charts::Charts;

pub use leader::LeaderMetrics;
pub use log::LogMetrics;
pub use requests::{RequestMetrics, Route};
pub use state::{StateMetrics, signed};
pub use webhooks::WebhookMetrics;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    /// Requests to the API.
    pub requests: RequestMetrics,
    /// Appends to the log.
    pub log: LogMetrics,
    /// The leader's roles.
    pub leader: LeaderMetrics,
    /// Deliveries of webhooks.
    pub webhooks: WebhookMetrics,
    /// What is so at the moment.
    pub state: StateMetrics,
    /// The figures of the last day.
    pub charts: Charts,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("dockhost");
        Self {
            requests: RequestMetrics::register(&mut registry),
            log: LogMetrics::register(&mut registry),
            leader: LeaderMetrics::register(&mut registry),
            webhooks: WebhookMetrics::register(&mut registry),
            state: StateMetrics::register(&mut registry),
            charts: Charts::default(),
            registry,
        }
    }
}

impl Metrics {
    /// All metrics as text.
    ///
    /// # Errors
    /// None that writing into a text has.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
