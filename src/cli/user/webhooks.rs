//! `dockhost webhooks`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, json};

use crate::cli::api::client::{ApiArgs, Client, path_segment};

/// The subcommands of `webhooks`.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// List your webhooks, and how their deliveries are.
    #[command(visible_alias = "list")]
    Ls(List),
    /// Send what happens to your account and your instances to a URL. Prints the secret that deliveries are signed with.
    Add(Add),
    /// Send a test message.
    Ping(One),
    /// Remove a webhook.
    Rm(One),
}

/// The arguments of `webhooks ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    api: ApiArgs,
}

/// The arguments of `webhooks add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The receiver, https://….
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    api: ApiArgs,
}

/// The arguments of `webhooks ping` and `webhooks rm`.
#[derive(Debug, Args)]
pub struct One {
    /// The webhook's id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Webhooks {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Ls(List { api }) => {
                let client = Client::new(&api)?;
                let columns = [
                    ("URL", "/url"),
                    ("STATUS", "/status"),
                    ("DELIVERED", "/deliveredAt"),
                    ("ERROR", "/failing/error"),
                    ("ID", "/id"),
                ];
                client.print_list(&client.array("user/webhooks").await?, &columns)
            }
            Self::Add(Add { url, api }) => {
                let client = Client::new(&api)?;
                let body = Map::from_iter([("url".to_owned(), json!(url))]);
                client.print_one(&client.post("user/webhooks", &body).await?)
            }
            Self::Ping(One { id, api }) => {
                let client = Client::new(&api)?;
                let path = format!("user/webhooks/{}/ping", path_segment(&id)?);
                client.print_one(&client.post(&path, &Map::new()).await?)
            }
            Self::Rm(One { id, api }) => {
                let client = Client::new(&api)?;
                let path = format!("user/webhooks/{}", path_segment(&id)?);
                client.send(Method::DELETE, &path, |request| request).await?;
                println!("the webhook is removed");
                Ok(())
            }
        }
    }
}
