//! `dockhost admin instances history`.

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::history;
use clap::Args;

/// The arguments of `admin instances history`.
#[derive(Debug, Args)]
pub struct History {
    /// The instance's id.
    #[arg(value_name = "INSTANCE")]
    instance: uuid::Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

impl History {
    /// Shows what happened to the instance.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        history::print(&Client::new(&self.api)?, &format!("admin/instances/{}/history", self.instance)).await
    }
}
