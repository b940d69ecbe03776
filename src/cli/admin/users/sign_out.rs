//! `dockhost admin users sign-out`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users sign-out`.
#[derive(Debug, Args)]
pub struct SignOut {
    #[command(flatten)]
    user: OneUser,
}

impl SignOut {
    /// Ends all sessions of the user.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let (client, path) = self.user.confirmed(|user| format!("End all sessions of {user}?"), stop).await?;
        client.send(Method::DELETE, &format!("{path}/sessions"), |request| request).await?;
        println!("all sessions of {} have ended", self.user.given());
        Ok(())
    }
}
