//! Sessions, by server: tokens in a file that only its owner reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use reqwest::Url;
use secrecy::SecretString;

use super::private_file;

/// `$XDG_CONFIG_HOME/dockhost`, or below `~/.config`.
///
/// # Errors
/// There is no home directory.
pub fn directory() -> anyhow::Result<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")));
    let Some(config) = config else { bail!("HOME is not set, so no session can be kept; use DOCKHOST_TOKEN") };
    Ok(config.join("dockhost"))
}

fn file() -> anyhow::Result<PathBuf> {
    Ok(directory()?.join("sessions.json"))
}

/// All tokens, by the URL of the server.
fn load() -> anyhow::Result<BTreeMap<String, String>> {
    let path = file()?;
    match private_file::read(&path).with_context(|| format!("reading {}", path.display()))? {
        Some(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged; remove it", path.display())),
        None => Ok(BTreeMap::new()),
    }
}

fn store(tokens: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let path = file()?;
    private_file::replace(&path, &serde_json::to_string_pretty(tokens)?)
        .with_context(|| format!("writing {}", path.display()))
}

/// The token for a server, if there is one.
///
/// # Errors
/// The file can't be read.
pub fn read(server: &Url) -> anyhow::Result<Option<SecretString>> {
    // Without a home directory there are no sessions.
    if file().is_err() {
        return Ok(None);
    }
    Ok(load()?.remove(server.as_str()).map(Into::into))
}

/// The server of the only token.
///
/// # Errors
/// The file can't be read.
pub fn only_server() -> anyhow::Result<Option<Url>> {
    if file().is_err() {
        return Ok(None);
    }
    let tokens = load()?;
    let mut servers = tokens.keys();
    let only = servers.next().filter(|_| tokens.len() == 1);
    only.map(|url| url.parse().with_context(|| format!("{url} in the stored sessions is no URL"))).transpose()
}

/// Keeps a token.
///
/// # Errors
/// The file can't be read or written.
pub fn keep(server: &Url, token: &str) -> anyhow::Result<()> {
    let mut tokens = load()?;
    tokens.insert(server.as_str().to_owned(), token.to_owned());
    store(&tokens)
}

/// Forgets the token of a server; whether there was one.
///
/// # Errors
/// The file can't be read or written.
pub fn forget(server: &Url) -> anyhow::Result<bool> {
    let mut tokens = load()?;
    let existed = tokens.remove(server.as_str()).is_some();
    if existed {
        store(&tokens)?;
    }
    Ok(existed)
}
