//! What the commands that change one user share.

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// A user, and where the server is.
#[derive(Debug, Args)]
pub struct OneUser {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl OneUser {
    /// A client, and the path of the user, once the question is confirmed. `question` gets the user as it is to be shown.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn confirmed(
        &self,
        question: impl FnOnce(&str) -> String,
        stop: &CancellationToken,
    ) -> anyhow::Result<(Client, String)> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        confirmation::require(self.yes, &question(&format!("{} ({id})", self.user)), stop).await?;
        Ok((client, format!("admin/users/{id}")))
    }

    /// The name or id, as given.
    pub fn given(&self) -> &str {
        &self.user
    }
}
