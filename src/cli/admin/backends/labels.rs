//! `dockhost admin backends labels`.

use clap::Args;
use dockhost_domain::labels::Label;
use reqwest::Method;
use serde_json::json;

use super::one::OneBackend;
use crate::cli::api::labels::object;

/// The arguments of `admin backends labels`.
#[derive(Debug, Args)]
pub struct SetLabels {
    #[command(flatten)]
    backend: OneBackend,
    /// All its labels; none to remove those that it has.
    #[arg(value_name = "NAME=VALUE")]
    labels: Vec<Label>,
}

impl SetLabels {
    /// Sets the labels.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let body = json!({ "labels": object(self.labels) });
        self.backend.send(Method::PUT, "/labels", |request| request.json(&body)).await
    }
}
