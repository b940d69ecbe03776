//! `dockhost admin login`: signs in at a server and keeps the token for the other subcommands.

use clap::Args;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::client::{ApiArgs, Client};
use super::{output, session};

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
    /// The server refuses the password, or the token can't be kept.
    pub async fn run(self, password: SecretString) -> anyhow::Result<()> {
        let body = json!({ "username": self.name, "password": password.expose_secret() });
        let server = self.api.server()?;
        let client = Client::signed_out(&self.api)?;
        let data = client.send(Method::POST, "user/signin", |request| request.json(&body)).await?;
        session::keep(&server, data["accessToken"].as_str().unwrap_or_default())?;
        let text = |member: &str| output::plain(data["user"][member].as_str().unwrap_or_default());
        println!("signed in at {server} as {} ({}), for 24 hours", text("username"), text("role"));
        Ok(())
    }
}
