//! `dockhost logout`: ends the kept session of a server.

use clap::Args;
use reqwest::Method;

use crate::cli::api::client::{ApiArgs, Client, Failure};
use crate::cli::api::session;

/// The arguments of `logout` and `admin logout`.
#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    api: ApiArgs,
}

impl Logout {
    /// Signs out at the server, and forgets the token.
    ///
    /// # Errors
    /// The server can't be reached; then the token is kept.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        match client.send(Method::POST, "user/signout", |request| request).await {
            // The session has ended already.
            Ok(_) | Err(Failure::NotSignedIn(_)) => {}
            Err(failure) => return Err(failure.into()),
        }
        let server = self.api.server()?;
        let existed = session::forget(&server)?;
        println!("{} at {server}", if existed { "signed out" } else { "was not signed in" });
        Ok(())
    }
}
