//! `dockhost admin users reset-password`.

use clap::Args;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use crate::cli::admin::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users reset-password`.
#[derive(Debug, Args)]
pub struct ResetPassword {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl ResetPassword {
    /// Prints a token with which the user sets a new password.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        let question = format!("Let {} ({id}) set a new password with a token?", self.user);
        confirmation::require(self.yes, &question, stop).await?;
        client.print_one(&client.post(&format!("admin/users/{id}/password-reset"), &Map::new()).await?)
    }
}
