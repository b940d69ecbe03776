//! `dockhost admin users`.

mod list;
mod role;
mod show;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

/// The subcommands of `admin users`.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List users.
    List(list::List),
    /// Show one user.
    Show(show::Show),
    /// Make a user an administrator, or take that away.
    Role(role::Role),
}

impl Users {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](super::client::Failure).
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Role(role) => role.run(stop).await,
        }
    }
}
