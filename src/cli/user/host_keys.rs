//! Makes the host keys of an instance known to `ssh`: those that the instance's SSH server shows and whose fingerprints the
//! server has from the agent. So the first login needs no question, and a foreign server on the port is noticed.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::auth::ssh_key::fingerprint;
use crate::cli::api::{private_file, session};

/// Where an instance is reached, and which host keys it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The instance's id: the name of its host keys for `ssh`. Its address and port may change.
    pub id: String,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub user: String,
    /// `SHA256:…` of each host key; empty if the agent does not know them.
    pub fingerprints: Vec<String>,
}

impl Login {
    /// How to log in to an instance, as the API shows it; `None` if that is not known.
    pub fn of(instance: &Value) -> Option<Self> {
        let details = &instance["sshDetails"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let keys = details["hostKeys"].as_array().into_iter().flatten();
        Some(Self {
            id: text(&instance["instanceId"])?,
            name: text(&instance["name"])?,
            host: text(&details["host"])?,
            port: details["port"].as_u64()?.try_into().ok()?,
            user: text(&details["username"])?,
            fingerprints: keys.filter_map(text).collect(),
        })
    }

    /// The options with which `ssh` knows the host keys.
    pub fn options(&self, known_hosts: &str) -> Vec<(&'static str, String)> {
        // Without fingerprints the first login decides, and later ones notice a change.
        let check = if self.fingerprints.is_empty() { "accept-new" } else { "yes" };
        vec![
            ("HostName", self.host.clone()),
            ("Port", self.port.to_string()),
            ("User", self.user.clone()),
            ("HostKeyAlias", self.id.clone()),
            ("UserKnownHostsFile", known_hosts.to_owned()),
            ("StrictHostKeyChecking", check.to_owned()),
        ]
    }
}

/// The file with the known host keys.
///
/// # Errors
/// There is no home directory.
pub fn file() -> anyhow::Result<PathBuf> {
    Ok(session::directory()?.join("known_hosts"))
}

/// Asks an instance's SSH server for its keys, and keeps those that have the right fingerprints.
///
/// # Errors
/// It does not answer, or none of its keys has one of the fingerprints: then it is another server.
pub async fn learn(login: &Login) -> anyhow::Result<()> {
    if login.fingerprints.is_empty() {
        return Ok(());
    }
    let path = file()?;
    let known = private_file::read(&path).with_context(|| format!("reading {}", path.display()))?.unwrap_or_default();
    if is_known(&known, login) {
        return Ok(());
    }
    let port = login.port.to_string();
    let scan = Command::new("ssh-keyscan").args(["-T", "5", "-p", &port, &login.host]).output().await;
    let scan = scan.context("running ssh-keyscan, which belongs to OpenSSH")?;
    let shown = String::from_utf8_lossy(&scan.stdout);
    let right = matching(&shown, login);
    if right.is_empty() && shown.trim().is_empty() {
        bail!("the SSH server at {} port {port} does not answer", login.host);
    }
    if right.is_empty() {
        bail!(
            "the SSH server at {} port {port} has other host keys than the instance {}: it may be another machine, so nothing was sent to it",
            login.host,
            login.name
        );
    }
    private_file::replace(&path, &with(&known, &login.id, &right))
        .with_context(|| format!("writing {}", path.display()))
}

/// The part of a line after the host: type and key.
fn key_of(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip(1);
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// Whether a known key of the instance has one of its fingerprints.
fn is_known(known: &str, login: &Login) -> bool {
    let own = known.lines().filter(|line| line.split_whitespace().next() == Some(login.id.as_str()));
    own.filter_map(|line| fingerprint(&key_of(line)?)).any(|one| login.fingerprints.contains(&one))
}

/// The shown keys that have one of the fingerprints.
fn matching(shown: &str, login: &Login) -> Vec<String> {
    let keys = shown.lines().filter(|line| !line.starts_with('#')).filter_map(key_of);
    keys.filter(|key| fingerprint(key).is_some_and(|one| login.fingerprints.contains(&one))).collect()
}

/// The known keys with these instead of the instance's earlier ones.
fn with(known: &str, id: &str, keys: &[String]) -> String {
    let others = known.lines().filter(|line| line.split_whitespace().next() != Some(id)).map(str::to_owned);
    let own = keys.iter().map(|key| format!("{id} {key}"));
    others.chain(own).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO";

    fn login(fingerprints: &[&str]) -> Login {
        Login {
            id: "i1".to_owned(),
            name: "web".to_owned(),
            host: "192.0.2.1".to_owned(),
            port: 20_000,
            user: "root".to_owned(),
            fingerprints: fingerprints.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn keys_with_the_fingerprints_of_the_instance_are_kept_and_others_are_not() {
        let right = fingerprint(&format!("ssh-ed25519 {KEY}")).unwrap();
        let shown =
            format!("# 192.0.2.1:20000 SSH-2.0\n[192.0.2.1]:20000 ssh-ed25519 {KEY}\n[192.0.2.1]:20000 ssh-rsa AAAA\n");
        assert_eq!(matching(&shown, &login(&[&right])), [format!("ssh-ed25519 {KEY}")]);
        assert_eq!(matching(&shown, &login(&["SHA256:other"])), [""; 0]);

        let known = with("i2 ssh-rsa AAAA\ni1 ssh-rsa BBBB\n", "i1", &[format!("ssh-ed25519 {KEY}")]);
        assert_eq!(known, format!("i2 ssh-rsa AAAA\ni1 ssh-ed25519 {KEY}\n"));
        assert!(is_known(&known, &login(&[&right])));
        assert!(!is_known(&known, &login(&["SHA256:other"])), "the instance has another container now");
        assert!(!is_known(&format!("i2 ssh-ed25519 {KEY}\n"), &login(&[&right])));
    }

    #[test]
    fn login_of_an_instance_without_an_address_is_not_known() {
        let details =
            serde_json::json!({ "host": "192.0.2.1", "port": 20_000, "username": "root", "hostKeys": ["SHA256:a"] });
        let instance = |details| serde_json::json!({ "instanceId": "i1", "name": "web", "sshDetails": details });
        assert_eq!(Login::of(&instance(details)), Some(login(&["SHA256:a"])));
        assert_eq!(Login::of(&instance(Value::Null)), None);
    }
}
