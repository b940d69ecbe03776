//! `dockhost admin invitations list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin invitations list`.
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
        let invitations = client.list("admin/invitations", &[]).await?;
        client.print_list(
            &invitations,
            &[
                ("STATUS", "/status"),
                ("EXPIRES", "/expiresAt"),
                ("INSTANCES", "/maxInstances"),
                ("CREATED", "/createdAt"),
                ("BY", "/createdBy"),
                ("USER", "/userId"),
                ("ID", "/id"),
            ],
        )
    }
}
