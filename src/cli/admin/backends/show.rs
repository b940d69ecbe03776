//! `dockhost admin backends show`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin backends show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Name or id.
    #[arg(value_name = "BACKEND")]
    backend: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Show {
    /// Shows the backend.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/backends", "backend", &self.backend).await?;
        client.print_one(&client.get(&format!("admin/backends/{id}"), &[]).await?)
    }
}
