//! `dockhost admin sessions end`.

use clap::Args;
use reqwest::Method;
use uuid::Uuid;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin sessions end`.
#[derive(Debug, Args)]
pub struct End {
    /// The session's id, as in the list.
    #[arg(value_name = "ID")]
    session: Uuid,
    #[command(flatten)]
    api: ApiArgs,
}

impl End {
    /// Ends the session.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        client.send(Method::DELETE, &format!("admin/sessions/{}", self.session), |request| request).await?;
        println!("the session {} has ended", self.session);
        Ok(())
    }
}
