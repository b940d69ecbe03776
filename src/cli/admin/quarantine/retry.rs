//! `dockhost admin quarantine retry`.

use clap::Args;
use serde_json::Map;

use crate::cli::api::client::{ApiArgs, Client, path_segment};

/// The arguments of `admin quarantine retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The aggregate's subject, as in the list (`dockhost.event.tenancy.<id>`).
    subject: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Retry {
    /// Retries the aggregate.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let path = format!("admin/quarantine/{}/retry", path_segment(&self.subject)?);
        client.print_one(&client.post(&path, &Map::new()).await?)
    }
}
