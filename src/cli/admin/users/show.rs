//! `dockhost admin users show`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin users show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Show {
    /// Shows the user.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        client.print_one(&client.get(&format!("admin/users/{id}"), &[]).await?)
    }
}
