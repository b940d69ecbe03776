//! `dockhost admin users quota`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::limit;
use crate::cli::confirmation;

/// The arguments of `admin users quota`.
#[derive(Debug, Args)]
pub struct Quota {
    /// Username or id.
    #[arg(value_name = "USER")]
    user: String,
    /// The most instances that are not deleted; `none` for that of the user's group or of the server's configuration.
    #[arg(long, value_name = "COUNT", value_parser = limit::whole, conflicts_with = "default")]
    instances: Option<Value>,
    /// The most processors that they may use in all; `none` for that of the user's group.
    #[arg(long, value_name = "PROCESSORS", value_parser = limit::processors, conflicts_with = "default")]
    cpu: Option<Value>,
    /// The most memory that they may use in all, in MiB; `none` for that of the user's group.
    #[arg(long, value_name = "MIB", value_parser = limit::whole, conflicts_with = "default")]
    memory_mib: Option<Value>,
    /// Take back all that was set for the user.
    #[arg(long)]
    default: bool,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Quota {
    /// Shows the quota, or sets what is given and keeps the rest of what was set.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/users", "user", &self.user).await?;
        let path = format!("admin/users/{id}/quota");
        let given = [("instances", self.instances), ("cpu", self.cpu), ("memoryMib", self.memory_mib)];
        let given: Vec<_> = given.into_iter().filter_map(|(member, value)| Some((member, value?))).collect();
        if given.is_empty() && !self.default {
            return client.print_one(&client.get(&path, &[]).await?);
        }
        let question = if self.default {
            format!("Take back what was set for {} ({id})?", self.user)
        } else {
            let limits: Vec<_> = given.iter().map(|(member, value)| format!("{member} {value}")).collect();
            format!("Set the quota of {} ({id}): {}?", self.user, limits.join(", "))
        };
        confirmation::require(self.yes, &question, stop).await?;
        let mut body = Map::new();
        if !self.default {
            if let Value::Object(set) = client.get(&path, &[]).await?["set"].take() {
                body = set;
            }
            body.extend(given.into_iter().map(|(member, value)| (member.to_owned(), value)));
        }
        client.print_one(&client.put(&path, &body).await?)
    }
}
