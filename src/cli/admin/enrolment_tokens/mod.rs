//! `dockhost admin enrolment-tokens`.

mod create;
mod list;
mod revoke;

use clap::Subcommand;

/// The subcommands of `admin enrolment-tokens`.
#[derive(Debug, Subcommand)]
pub enum EnrolmentTokens {
    /// Create a token that registers one backend, and print it.
    Create(create::Create),
    /// List the tokens, without the tokens themselves.
    List(list::List),
    /// Revoke a token.
    Revoke(revoke::Revoke),
}

impl EnrolmentTokens {
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
