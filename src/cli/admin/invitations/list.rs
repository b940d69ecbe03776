//! `dockhost admin invitations list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin invitations list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those with this status: valid, used, revoked or expired.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
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
        let invitations = client.list("admin/invitations", &[("status", self.status)]).await?;
        client.print_list(
            &invitations,
            &[
                ("STATUS", "/status"),
                ("EXPIRES", "/expiresAt"),
                ("INSTANCES", "/maxInstances"),
                ("CPU", "/maxCpu"),
                ("MEMORY MIB", "/maxMemoryMib"),
                ("CREATED", "/createdAt"),
                ("BY", "/createdBy"),
                ("USER", "/userId"),
                ("ID", "/id"),
            ],
        )
    }
}
