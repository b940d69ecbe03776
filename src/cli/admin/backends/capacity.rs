//! `dockhost admin backends capacity`.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::one::OneBackend;

/// The arguments of `admin backends capacity`.
#[derive(Debug, Args)]
pub struct Capacity {
    #[command(flatten)]
    backend: OneBackend,
    /// The most containers that it may have.
    #[arg(value_name = "NUMBER")]
    max_containers: u32,
}

impl Capacity {
    /// Sets the capacity.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let body = json!({ "maxContainers": self.max_containers });
        self.backend.send(Method::PUT, "/capacity", |request| request.json(&body)).await
    }
}
