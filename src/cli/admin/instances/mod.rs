//! `dockhost admin instances`.

mod list;

use clap::Subcommand;

/// The subcommands of `admin instances`.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// List the instances of all users.
    List(list::List),
}

impl Instances {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](super::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
        }
    }
}
