//! `dockhost admin webhooks list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin webhooks list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    api: ApiArgs,
}

impl List {
    /// Lists.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        client.print_list(
            &client.array("admin/webhooks").await?,
            &[
                ("URL", "/url"),
                ("TYPE", "/filter/type"),
                ("STATUS", "/status"),
                ("DELIVERED", "/deliveredAt"),
                ("ERROR", "/failing/error"),
                ("ID", "/id"),
            ],
        )
    }
}
