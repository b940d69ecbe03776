//! `dockhost signup`: makes an account at a server and signs in.

use clap::Args;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, json};

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::sign_in;

/// The arguments of `signup`.
#[derive(Debug, Args)]
pub struct SignUp {
    /// URL of the server, for example `https://dockhost.example.org`.
    #[arg(value_name = "URL")]
    server: Url,
    /// Username.
    #[arg(value_name = "NAME")]
    name: String,
    /// Email address.
    #[arg(value_name = "EMAIL")]
    email: String,
    /// The invitation of an administrator, where signing up needs one.
    #[arg(long, value_name = "TOKEN")]
    invitation: Option<String>,
}

impl SignUp {
    /// Makes the account, and keeps its token.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or the token can't be kept.
    pub async fn run(self, password: SecretString) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("username".to_owned(), json!(self.name));
        body.insert("email".to_owned(), json!(self.email));
        body.insert("password".to_owned(), json!(password.expose_secret()));
        if let Some(invitation) = self.invitation {
            body.insert("invitation".to_owned(), json!(invitation));
        }
        let api = ApiArgs::of(Some(self.server));
        let client = Client::signed_out(&api)?;
        let data = client.send(Method::POST, "user/signup", |request| request.json(&body)).await?;
        sign_in::keep(&api, &data)
    }
}
