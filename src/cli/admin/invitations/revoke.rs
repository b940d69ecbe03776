//! `dockhost admin invitations revoke`.

use clap::Args;
use reqwest::Method;
use uuid::Uuid;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin invitations revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The invitation's id, as in the list.
    #[arg(value_name = "ID")]
    invitation: Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

impl Revoke {
    /// Revokes the invitation.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let path = format!("admin/invitations/{}", self.invitation);
        client.print_one(&client.send(Method::DELETE, &path, |request| request).await?)
    }
}
