//! `dockhost admin enrolment-tokens revoke`.

use clap::Args;
use reqwest::Method;
use uuid::Uuid;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin enrolment-tokens revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's id, as in the list.
    #[arg(value_name = "ID")]
    token: Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

impl Revoke {
    /// Revokes the token.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let path = format!("admin/enrolment-tokens/{}", self.token);
        client.print_one(&client.send(Method::DELETE, &path, |request| request).await?)
    }
}
