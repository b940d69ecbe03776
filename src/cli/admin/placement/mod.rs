//! `dockhost admin placement`.

mod explain;

use clap::Subcommand;

/// The subcommands of `admin placement`.
#[derive(Debug, Subcommand)]
pub enum Placement {
    /// Say where an instance would be placed now, and why not elsewhere; nothing is created.
    Explain(explain::Explain),
}

impl Placement {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Explain(explain) => explain.run().await,
        }
    }
}
