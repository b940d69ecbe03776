//! `dockhost admin users disable`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::admin::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users disable`.
#[derive(Debug, Args)]
pub struct Disable {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// What happens to the running instances.
    #[arg(long, value_parser = ["stop", "leave"], default_value = "stop")]
    instances: String,
    /// What the user is told when they sign in.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Disable {
    /// Disables the account.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::admin::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        let question = format!("Disable the account of {} ({id}) and {} the instances?", self.user, self.instances);
        confirmation::require(self.yes, &question, stop).await?;
        let mut body = Map::from_iter([("instances".to_owned(), Value::from(self.instances))]);
        body.extend(self.reason.map(|reason| ("reason".to_owned(), Value::from(reason))));
        client.print_one(&client.post(&format!("admin/users/{id}/disable"), &body).await?)
    }
}
