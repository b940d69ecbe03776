//! `dockhost admin webhooks`. What is done with one of them is in `dockhost webhooks`.

mod add;
mod list;

use clap::Subcommand;

/// The subcommands of `admin webhooks`.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// Send the events of everybody to a URL. Prints the secret that deliveries are signed with.
    Add(add::Add),
    /// List your webhooks for the events of everybody, and how their deliveries are.
    List(list::List),
}

impl Webhooks {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run().await,
            Self::List(list) => list.run().await,
        }
    }
}
