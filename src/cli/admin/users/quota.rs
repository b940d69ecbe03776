//! `dockhost admin users quota`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin users quota`.
#[derive(Debug, Args)]
pub struct Quota {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// The most instances that are not deleted.
    #[arg(long, value_name = "COUNT", conflicts_with = "default")]
    instances: Option<u32>,
    /// Take back what was set: the quota of the server's configuration counts.
    #[arg(long)]
    default: bool,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Quota {
    /// Shows the quota, or sets it.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        let path = format!("admin/users/{id}/quota");
        let question = match (self.instances, self.default) {
            (None, false) => return client.print_one(&client.get(&path, &[]).await?),
            (Some(count), _) => format!("Let {} ({id}) have {count} instances at most?", self.user),
            (None, true) => format!("Let {} ({id}) have as many instances as the configuration says?", self.user),
        };
        confirmation::require(self.yes, &question, stop).await?;
        let body = Map::from_iter(self.instances.map(|count| ("instances".to_owned(), Value::from(count))));
        client.print_one(&client.put(&path, &body).await?)
    }
}
