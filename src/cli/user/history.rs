//! `dockhost history`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client, path_segment};
use crate::cli::api::history;

/// The arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// The instance: its name or id. By its id also when it is deleted.
    #[arg(value_name = "INSTANCE")]
    instance: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl History {
    /// Shows what happened to the instance.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let path = format!("user/instance/{}/history", path_segment(&self.instance)?);
        history::print(&Client::new(&self.api)?, &path).await
    }
}
