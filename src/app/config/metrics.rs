//! Who can read the metrics.

use std::net::SocketAddr;

use clap::Args;

use crate::http::metrics::MetricsToken;

/// Where the metrics are served; nowhere by default.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Address on which `/metrics` is served to everyone who reaches it, such as 127.0.0.1:9464.
    #[arg(long, env = "DOCKHOST_METRICS_ADDRESS", value_name = "ADDRESS")]
    pub metrics_address: Option<SocketAddr>,
    /// Serve `/metrics` beside the API, for requests with this bearer token.
    #[arg(long, env = "DOCKHOST_METRICS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub metrics_token: Option<MetricsToken>,
}
