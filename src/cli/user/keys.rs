//! `dockhost keys`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::key_file;
use crate::cli::api::client::{ApiArgs, Client, Failure};

/// The subcommands of `keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List your keys.
    #[command(visible_alias = "list")]
    Ls(List),
    /// Add a key. It logs in to instances that are created from then on.
    Add(Add),
    /// Remove a key from your account and from all your instances.
    Rm(Remove),
}

/// The arguments of `keys ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    api: ApiArgs,
}

/// The arguments of `keys add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The public key's file [default: the one of this machine's user in ~/.ssh, which is made if there is none].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Its name in your account [default: the name of this machine].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

/// The arguments of `keys rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The key's name or id.
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Keys {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`], or a file can't be read.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Ls(List { api }) => {
                let client = Client::new(&api)?;
                let columns =
                    [("NAME", "/name"), ("FINGERPRINT", "/fingerprint"), ("ADDED", "/addedAt"), ("ID", "/id")];
                client.print_list(&all(&client).await?, &columns)
            }
            Self::Add(Add { file, name, api }) => {
                let client = Client::new(&api)?;
                let public = match file {
                    Some(file) => {
                        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?
                    }
                    None => key_file::own().await?.public,
                };
                let name = name.unwrap_or_else(key_file::this_machine);
                client.print_one(&add(&client, &name, &public).await?)
            }
            Self::Rm(Remove { key, api }) => {
                let client = Client::new(&api)?;
                let keys = all(&client).await?;
                let id =
                    keys.iter().find(|one| one["name"] == key || one["id"] == key).and_then(|one| one["id"].as_str());
                let id = id.ok_or(Failure::NotFound("key"))?;
                client.send(Method::DELETE, &format!("user/keys/{id}"), |request| request).await?;
                println!("the key is removed");
                Ok(())
            }
        }
    }
}

/// All keys of the account.
///
/// # Errors
/// [`Failure`].
pub async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    client.array("user/keys").await
}

/// Adds a key to the account.
///
/// # Errors
/// [`Failure`].
pub async fn add(client: &Client, name: &str, public: &str) -> Result<Value, Failure> {
    let body = Map::from_iter([("name".to_owned(), json!(name)), ("sshPublicKey".to_owned(), json!(public.trim()))]);
    client.post("user/keys", &body).await
}
