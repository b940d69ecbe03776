//! `dockhost admin users enable`.

use clap::Args;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users enable`.
#[derive(Debug, Args)]
pub struct Enable {
    #[command(flatten)]
    user: OneUser,
}

impl Enable {
    /// Enables the account.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let (client, path) = self.user.confirmed(|user| format!("Enable the account of {user}?"), stop).await?;
        client.print_one(&client.post(&format!("{path}/enable"), &Map::new()).await?)
    }
}
