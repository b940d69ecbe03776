//! `dockhost admin backends list`.

use clap::Args;
use dockhost_domain::labels::Label;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin backends list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those whose name, or the name of whose lab, contains this text.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only those with this status: pending, enrolled, connected, degraded or lost.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only those with this label.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Option<Label>,
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
        let label = self.label.map(|label| label.to_string());
        let query = [("search", self.search), ("status", self.status), ("label", label)];
        let backends = client.list("admin/backends", &query).await?;
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
