//! `dockhost admin users role`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users role`.
#[derive(Debug, Args)]
pub struct Role {
    #[command(flatten)]
    user: OneUser,
    /// The new role.
    #[arg(value_name = "ROLE", value_parser = ["user", "admin"])]
    role: String,
}

impl Role {
    /// Changes the role.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Give {user} the role {}?", self.role);
        let (client, path) = self.user.confirmed(question, stop).await?;
        let body = Map::from_iter([("role".to_owned(), Value::from(self.role))]);
        client.print_one(&client.put(&format!("{path}/role"), &body).await?)
    }
}
