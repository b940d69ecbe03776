//! `dockhost admin users role`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::admin::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users role`.
#[derive(Debug, Args)]
pub struct Role {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// The new role.
    #[arg(value_name = "ROLE", value_parser = ["user", "admin"])]
    role: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Role {
    /// Changes the role.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        let question = format!("Give {} ({id}) the role {}?", self.user, self.role);
        confirmation::require(self.yes, &question, stop).await?;
        let body = Map::from_iter([("role".to_owned(), Value::from(self.role))]);
        client.print_one(&client.put(&format!("admin/users/{id}/role"), &body).await?)
    }
}
