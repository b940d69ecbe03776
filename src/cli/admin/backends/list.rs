//! `dockhost admin backends list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin backends list`.
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
        let backends = client.list("admin/backends", &[]).await?;
        client.print_list(
            &backends,
            &[
                ("NAME", "/username"),
                ("STATUS", "/status"),
                ("CORDONED", "/cordoned"),
                ("INSTANCES", "/instances"),
                ("ROOM", "/maxContainers"),
                ("LOAD", "/load"),
                ("MEMORY", "/memory"),
                ("ADDRESS", "/address"),
                ("LAST SEEN", "/lastSeen"),
                ("ID", "/id"),
            ],
        )
    }
}
