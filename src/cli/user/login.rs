//! `dockhost login`: signs in at a server and keeps the token.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use reqwest::Url;

use crate::cli::api::client::ApiArgs;
use crate::cli::api::sign_in::sign_in;
use crate::cli::password;

/// The arguments of `login`.
#[derive(Debug, Args)]
pub struct Login {
    /// URL of the server, for example `https://dockhost.example.org` [default: as for the other commands].
    #[arg(env = "DOCKHOST_URL", value_name = "URL")]
    server: Option<Url>,
    /// Username or email address; asked for if absent.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Login {
    /// Signs in and keeps the token.
    ///
    /// # Errors
    /// As [`sign_in`]; nothing was entered.
    pub async fn run(self) -> anyhow::Result<()> {
        let name = match self.name {
            Some(name) => name,
            None => ask("Username: ")?,
        };
        let password = password::read()?;
        sign_in(&ApiArgs::of(self.server), &name, &password).await
    }
}

/// Asks for a line on the terminal.
fn ask(question: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("without a terminal, name the server and the user: dockhost login URL NAME");
    }
    print!("{question}");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    match line.trim() {
        "" => bail!("nothing was entered"),
        name => Ok(name.to_owned()),
    }
}
