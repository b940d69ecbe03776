//! `dockhost admin invitations`.

mod create;
mod list;
mod revoke;

use clap::Subcommand;

/// The subcommands of `admin invitations`.
#[derive(Debug, Subcommand)]
pub enum Invitations {
    /// Create an invitation, with which one person signs up, and print its token.
    Create(create::Create),
    /// List the invitations, without their tokens.
    List(list::List),
    /// Revoke an invitation.
    Revoke(revoke::Revoke),
}

impl Invitations {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}
