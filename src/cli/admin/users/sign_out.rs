//! `dockhost admin users sign-out`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use crate::cli::admin::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users sign-out`.
#[derive(Debug, Args)]
pub struct SignOut {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl SignOut {
    /// Ends all sessions of the user.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        confirmation::require(self.yes, &format!("End all sessions of {} ({id})?", self.user), stop).await?;
        client.send(Method::DELETE, &format!("admin/users/{id}/sessions"), |request| request).await?;
        println!("all sessions of {} have ended", self.user);
        Ok(())
    }
}
