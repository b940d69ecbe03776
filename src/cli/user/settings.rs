//! `dockhost change`.

use clap::Args;
use reqwest::Method;

use crate::cli::api::client::{ApiArgs, Client, path_segment};
use crate::cli::api::settings::Settings;

/// The arguments of `change`.
#[derive(Debug, Args)]
pub struct ChangeSettings {
    /// The instance: its name or id.
    #[arg(value_name = "INSTANCE")]
    instance: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    api: ApiArgs,
}

impl ChangeSettings {
    /// Changes the instance, and prints it as it is then.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or nothing can have this name.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let (path, body) = (format!("user/instance/{}", path_segment(&self.instance)?), self.settings.body());
        client.print_one(&client.send(Method::PATCH, &path, |request| request.json(&body)).await?)
    }
}
