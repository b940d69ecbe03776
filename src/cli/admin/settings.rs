//! `dockhost admin settings`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin settings`.
#[derive(Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    api: ApiArgs,
}

impl Settings {
    /// Lists the settings of the server that answers.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let settings = client.list("admin/settings", &[]).await?;
        client.print_list(
            &settings,
            &[
                ("NAME", "/name"),
                ("VALUE", "/value"),
                ("SET", "/isSet"),
                ("SECRET", "/isSecret"),
                ("SOURCE", "/source"),
            ],
        )
    }
}
