//! `dockhost ls`.

use clap::Args;
use serde_json::Value;

use crate::cli::api::client::{ApiArgs, Client, Failure};

/// The arguments of `ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    api: ApiArgs,
}

impl List {
    /// Lists.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        client.print_list(
            &all(&client).await?,
            &[
                ("NAME", "/name"),
                ("STATUS", "/status"),
                ("CPU", "/cpu"),
                ("MIB", "/memoryMib"),
                ("BACKEND", "/backend/name"),
                ("SSH", "/sshDetails/command"),
                ("CREATED", "/createdAt"),
            ],
        )
    }
}

/// All instances of the caller.
///
/// # Errors
/// [`Failure`].
pub async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    client.array("user/instance").await
}
