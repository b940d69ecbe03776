//! `dockhost admin backends remove`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::one::OneBackend;
use crate::cli::confirmation;

/// The arguments of `admin backends remove`.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    backend: OneBackend,
    /// Also if it is not cordoned.
    #[arg(long)]
    force: bool,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl Remove {
    /// Removes the backend.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let name = self.backend.given();
        let question = format!("Remove {name} for good, and the instances that have files on it?");
        confirmation::require(self.yes, &question, stop).await?;
        let below = if self.force { "?force=true" } else { "" };
        self.backend.send(Method::DELETE, below, |request| request).await
    }
}
