//! `dockhost admin groups delete`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin groups delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Name or id.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Delete {
    /// Deletes the group.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/groups", "group", &self.group).await?;
        confirmation::require(self.yes, &format!("Delete the group {} ({id})?", self.group), stop).await?;
        client.print_one(&client.send(Method::DELETE, &format!("admin/groups/{id}"), |request| request).await?)
    }
}
