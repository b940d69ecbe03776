//! `dockhost admin users enable`.

use clap::Args;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use crate::cli::admin::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users enable`.
#[derive(Debug, Args)]
pub struct Enable {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Enable {
    /// Enables the account.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        confirmation::require(self.yes, &format!("Enable the account of {} ({id})?", self.user), stop).await?;
        client.print_one(&client.post(&format!("admin/users/{id}/enable"), &Map::new()).await?)
    }
}
