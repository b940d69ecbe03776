//! `dockhost admin quarantine list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin quarantine list`.
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
        let quarantined = client.list("admin/quarantine", &[]).await?;
        client.print_list(
            &quarantined,
            &[
                ("SUBJECT", "/subject"),
                ("EVENT", "/sequence"),
                ("SINCE", "/since"),
                ("READ MODELS", "/models"),
                ("WHY", "/why"),
            ],
        )
    }
}
