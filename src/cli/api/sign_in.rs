//! Signs in at a server, and keeps the token for other commands.

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::client::{ApiArgs, Client};
use super::{output, session};

/// Signs in and keeps the token.
///
/// # Errors
/// The server refuses the password, or the token can't be kept.
pub async fn sign_in(api: &ApiArgs, name: &str, password: &SecretString) -> anyhow::Result<()> {
    let body = json!({ "username": name, "password": password.expose_secret() });
    let client = Client::signed_out(api)?;
    let data = client.send(Method::POST, "user/signin", |request| request.json(&body)).await?;
    keep(api, &data)
}

/// Keeps the token of a sign-in or sign-up.
///
/// # Errors
/// The token can't be kept.
pub fn keep(api: &ApiArgs, data: &Value) -> anyhow::Result<()> {
    let server = api.server()?;
    session::keep(&server, data["accessToken"].as_str().unwrap_or_default())?;
    let text = |member: &str| output::plain(data["user"][member].as_str().unwrap_or_default());
    println!("signed in at {server} as {} ({}), for 24 hours", text("username"), text("role"));
    Ok(())
}
