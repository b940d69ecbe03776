//! `dockhost admin sessions`.

mod end;
mod list;

use clap::Subcommand;

/// The subcommands of `admin sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List the sessions and API tokens of everybody, the newest first.
    List(list::List),
    /// End a session or an API token of anybody.
    End(end::End),
}

impl Sessions {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::End(end) => end.run().await,
        }
    }
}
