//! `dockhost admin instances change`.

use clap::Args;
use reqwest::Method;
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::settings::Settings;
use crate::cli::confirmation;

/// The arguments of `admin instances change`.
#[derive(Debug, Args)]
pub struct ChangeSettings {
    /// Id of the instance.
    #[arg(value_name = "INSTANCE")]
    id: uuid::Uuid,
    #[command(flatten)]
    settings: Settings,
    /// What the owner is told.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl ChangeSettings {
    /// Changes the instance.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        confirmation::require(self.yes, &format!("Change the instance {}?", self.id), stop).await?;
        let mut body = self.settings.body();
        body.extend(self.reason.map(|reason| ("reason".to_owned(), reason.into())));
        let path = format!("admin/instances/{}", self.id);
        client.print_one(&client.send(Method::PATCH, &path, |request| request.json(&body)).await?)
    }
}
