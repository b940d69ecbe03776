//! `dockhost admin backends approve`.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::one::OneBackend;

/// The arguments of `admin backends approve`.
#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    backend: OneBackend,
    /// The most containers that it may have [default: what it asked for].
    #[arg(long, value_name = "NUMBER")]
    max_containers: Option<u32>,
}

impl Approve {
    /// Approves the backend.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let body = self.max_containers.map_or_else(|| json!({}), |max| json!({ "maxContainers": max }));
        self.backend.send(Method::POST, "/approve", |request| request.json(&body)).await
    }
}
