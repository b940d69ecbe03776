//! `dockhost admin users reset-password`.

use clap::Args;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users reset-password`.
#[derive(Debug, Args)]
pub struct ResetPassword {
    #[command(flatten)]
    user: OneUser,
}

impl ResetPassword {
    /// Prints a token with which the user sets a new password.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Let {user} set a new password with a token?");
        let (client, path) = self.user.confirmed(question, stop).await?;
        client.print_one(&client.post(&format!("{path}/password-reset"), &Map::new()).await?)
    }
}
