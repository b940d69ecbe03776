//! `dockhost admin webhooks add`.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin webhooks add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The receiver, https://….
    #[arg(value_name = "URL")]
    url: String,
    /// Only events about this user: username or id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only events that name this backend, or that its agent caused: name or id.
    #[arg(long, value_name = "BACKEND")]
    machine: Option<String>,
    /// Only events that change this instance: its id.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Only events of this type, for example instance.failed, or of all types that begin with it, for example instance.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Add {
    /// Registers the webhook.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = async |path, what, name: &Option<String>| match name {
            Some(name) => client.find(path, what, name).await.map(Some),
            None => Ok(None),
        };
        let members = [
            ("url", Some(self.url)),
            ("user", id("admin/users", "user", &self.user).await?),
            ("machine", id("admin/backends", "backend", &self.machine).await?),
            ("instance", self.instance),
            ("type", self.kind),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
        let body: Map<String, Value> = given.collect();
        client.print_one(&client.post("admin/webhooks", &body).await?)
    }
}
