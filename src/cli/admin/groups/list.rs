//! `dockhost admin groups list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin groups list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
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
        let groups = client.list("admin/groups", &[("search", self.search)]).await?;
        client.print_list(
            &groups,
            &[
                ("NAME", "/name"),
                ("INSTANCES", "/maxInstances"),
                ("CPU", "/maxCpu"),
                ("MEMORY MIB", "/maxMemoryMib"),
                ("ENDS", "/endsAt"),
                ("TIME TO LIVE", "/timeToLiveMinutes"),
                ("AUTOSTOP", "/autostopMinutes"),
                ("CREATED", "/createdAt"),
                ("ID", "/id"),
            ],
        )
    }
}
