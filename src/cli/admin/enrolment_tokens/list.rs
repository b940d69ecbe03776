//! `dockhost admin enrolment-tokens list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin enrolment-tokens list`.
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
        let tokens = client.list("admin/enrolment-tokens", &[("status", self.status)]).await?;
        client.print_list(
            &tokens,
            &[
                ("STATUS", "/status"),
                ("EXPIRES", "/expiresAt"),
                ("ROOM", "/maxContainers"),
                ("CREATED", "/createdAt"),
                ("BY", "/createdBy"),
                ("BACKEND", "/backendId"),
                ("ID", "/id"),
            ],
        )
    }
}
