//! `dockhost admin backends drain` and `retire`.

use clap::Args;
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::one::OneBackend;
use crate::cli::confirmation;

/// The arguments of `admin backends drain` and `retire`.
#[derive(Debug, Args)]
pub struct Drain {
    #[command(flatten)]
    backend: OneBackend,
    /// The drain ends after this time, in seconds, with what has not stopped [default: an hour].
    #[arg(long, value_name = "SECONDS")]
    within: Option<u32>,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl Drain {
    /// Begins the drain.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, retire: bool, stop: &CancellationToken) -> anyhow::Result<()> {
        let removal = if retire { ", and remove it when it has no instances" } else { "" };
        let question = format!("Stop all instances on {}{removal}?", self.backend.given());
        confirmation::require(self.yes, &question, stop).await?;
        let mut body = json!({ "retire": retire });
        if let Some(within) = self.within {
            body["withinSeconds"] = within.into();
        }
        self.backend.send(Method::POST, "/drain", |request| request.json(&body)).await
    }
}
