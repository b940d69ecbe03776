//! `dockhost admin login`: signs in at a server and keeps the token for the other subcommands.

use clap::Args;
use secrecy::SecretString;

use crate::cli::api::client::ApiArgs;
use crate::cli::api::sign_in::sign_in;

/// The arguments of `admin login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Username or email address.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Login {
    /// Signs in and keeps the token.
    ///
    /// # Errors
    /// As [`sign_in`].
    pub async fn run(self, password: SecretString) -> anyhow::Result<()> {
        sign_in(&self.api, &self.name, &password).await
    }
}
