//! `dockhost admin quarantine`.

mod list;
mod retry;

use clap::Subcommand;

/// The subcommands of `admin quarantine`.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// List the quarantined aggregates: those with an event that can't be read.
    List(list::List),
    /// Have the server fold the events of a quarantined aggregate again.
    Retry(retry::Retry),
}

impl Quarantine {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Retry(retry) => retry.run().await,
        }
    }
}
