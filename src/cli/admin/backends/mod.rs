//! `dockhost admin backends`.

mod list;
mod show;

use clap::Subcommand;

/// The subcommands of `admin backends`.
#[derive(Debug, Subcommand)]
pub enum Backends {
    /// List backends.
    List(list::List),
    /// Show one backend.
    Show(show::Show),
}

impl Backends {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](super::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}
