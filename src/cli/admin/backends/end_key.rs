//! `dockhost admin backends revoke` and `key`: both end the API key that the agent has.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::one::OneBackend;
use crate::cli::confirmation;

/// The arguments of `admin backends revoke` and `key`.
#[derive(Debug, Args)]
pub struct EndKey {
    #[command(flatten)]
    backend: OneBackend,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
}

impl EndKey {
    /// Revokes the key.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn revoke(self, stop: &CancellationToken) -> anyhow::Result<()> {
        self.end("/revoke", "Revoke the API key", stop).await
    }

    /// Issues another key in its place.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn replace(self, stop: &CancellationToken) -> anyhow::Result<()> {
        self.end("/key", "Issue another API key in place of that", stop).await
    }

    async fn end(self, below: &str, what: &str, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = format!("{what} of {}, and cut its agent off?", self.backend.given());
        confirmation::require(self.yes, &question, stop).await?;
        self.backend.post(below).await
    }
}
