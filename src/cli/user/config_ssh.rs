//! `dockhost config-ssh`: a block in `~/.ssh/config` with the caller's instances.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::host_keys::{self, Login};
use super::{key_file, list};
use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::private_file;

/// The arguments of `config-ssh`.
#[derive(Debug, Args)]
pub struct ConfigSsh {
    /// The file [default: ~/.ssh/config].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Remove the block instead.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl ConfigSsh {
    /// Writes the block, in place of the one before.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or the file can't be read or written.
    pub async fn run(self) -> anyhow::Result<()> {
        let path = match self.file {
            Some(file) => file,
            None => key_file::ssh_directory()?.join("config"),
        };
        let before = private_file::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let before = before.unwrap_or_default();
        let server = self.api.server()?;
        let server = server.as_str().trim_end_matches('/');
        let mut logins = Vec::new();
        if !self.remove {
            let client = Client::new(&self.api)?;
            logins = list::all(&client).await?.iter().filter_map(Login::of).collect();
            for login in &logins {
                // Not each of them runs; `ssh` then refuses until the block is written again.
                if let Err(error) = host_keys::learn(login).await {
                    eprintln!("the host keys of {} are not known yet: {error:#}", login.name);
                }
            }
        }
        let known_hosts = host_keys::file()?.display().to_string();
        let after = with_block(&before, server, &blocks(&logins, &known_hosts));
        if after != before {
            private_file::replace(&path, &after).with_context(|| format!("writing {}", path.display()))?;
        }
        let names: Vec<_> = logins.iter().map(|login| format!("{}.dockhost", login.name)).collect();
        println!("{} has {} of {server}: {}", path.display(), names.len(), names.join(" "));
        Ok(())
    }
}

/// The hosts of the instances.
fn blocks(logins: &[Login], known_hosts: &str) -> String {
    let host = |login: &Login| {
        let options = login.options(known_hosts).into_iter();
        let options: String = options.map(|(name, value)| format!("    {name} {}\n", quoted(&value))).collect();
        format!("Host {}.dockhost\n{options}", login.name)
    };
    logins.iter().map(host).collect()
}

fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() }
}

/// The file with this block of a server instead of the one before; an empty one is left out. The block comes first: what is
/// before the first `Host` of a file is for all hosts, and of two values `ssh` takes the first.
fn with_block(before: &str, server: &str, block: &str) -> String {
    let (begin, end) = (format!("# BEGIN DockHost {server}"), format!("# END DockHost {server}"));
    let mut is_inside = false;
    let rest: Vec<&str> = before
        .lines()
        .filter(|line| {
            let was_inside = is_inside;
            is_inside = (is_inside || *line == begin) && *line != end;
            !was_inside && !is_inside
        })
        .collect();
    let rest = rest.join("\n").trim_start_matches('\n').to_owned();
    let rest = if rest.is_empty() { rest } else { rest + "\n" };
    if block.is_empty() {
        return rest;
    }
    let gap = if rest.is_empty() { "" } else { "\n" };
    // `Host *` ends the last host, so that what follows is for all hosts as before.
    format!("{begin}\n# Written by `dockhost config-ssh`; changes are lost.\n{block}Host *\n{end}\n{gap}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(name: &str) -> Login {
        let details =
            serde_json::json!({ "host": "192.0.2.1", "port": 20_000, "username": "root", "hostKeys": ["SHA256:a"] });
        let instance = serde_json::json!({ "instanceId": "i1", "name": name, "sshDetails": details });
        Login::of(&instance).unwrap()
    }

    #[test]
    fn config_block_is_replaced_and_the_rest_is_kept() {
        let own = "Compression yes\n\nHost *.example.org\n    User ada\n";
        let first = with_block(own, "https://a", &blocks(&[login("web")], "/k h"));
        let expected = "# BEGIN DockHost https://a\n# Written by `dockhost config-ssh`; changes are lost.\nHost web.dockhost\n    \
                        HostName 192.0.2.1\n    Port 20000\n    User root\n    HostKeyAlias i1\n    UserKnownHostsFile \"/k h\"\n    \
                        StrictHostKeyChecking yes\nHost *\n# END DockHost https://a\n\n";
        assert_eq!(first, format!("{expected}{own}"));
        assert_eq!(with_block(&first, "https://a", &blocks(&[login("web")], "/k h")), first, "again");
        let both = with_block(&first, "https://b", &blocks(&[login("db")], "/k"));
        assert!(both.contains("Host web.dockhost") && both.contains("Host db.dockhost"), "{both}");
        assert_eq!(with_block(&with_block(&both, "https://b", ""), "https://a", ""), own);
        assert_eq!(with_block("", "https://a", ""), "");
    }
}
