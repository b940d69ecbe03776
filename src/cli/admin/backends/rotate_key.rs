//! `dockhost admin backends rotate-key`.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::one::OneBackend;

/// The arguments of `admin backends rotate-key`.
#[derive(Debug, Args)]
pub struct RotateKey {
    #[command(flatten)]
    backend: OneBackend,
    /// How long the key before stays valid, in seconds [default: a day].
    #[arg(long, value_name = "SECONDS")]
    valid_for: Option<u32>,
}

impl RotateKey {
    /// Rotates the key and prints the new one.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let body = self.valid_for.map_or_else(|| json!({}), |seconds| json!({ "validForSeconds": seconds }));
        self.backend.send(Method::POST, "/rotate", |request| request.json(&body)).await
    }
}
