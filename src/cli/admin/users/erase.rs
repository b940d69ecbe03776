//! `dockhost admin users erase`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users erase`.
#[derive(Debug, Args)]
pub struct Erase {
    #[command(flatten)]
    user: OneUser,
}

impl Erase {
    /// Erases the user.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Erase {user} for good, and delete the instances with their files?");
        let (client, path) = self.user.confirmed(question, stop).await?;
        client.send(Method::DELETE, &path, |request| request).await?;
        println!("{} is erased: the name is free, and the servers delete the rest", self.user.given());
        Ok(())
    }
}
