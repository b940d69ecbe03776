//! `dockhost admin groups add` and `remove`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::admin::users::OneUser;

/// The arguments of `admin groups add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Name or id of the group.
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    user: OneUser,
}

impl Add {
    /// Puts the user into the group.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Put {user} into the group {}?", self.group);
        let (client, path) = self.user.confirmed(question, stop).await?;
        let id = client.find("admin/groups", "group", &self.group).await?;
        let body = Map::from_iter([("groupId".to_owned(), Value::from(id))]);
        client.print_one(&client.put(&format!("{path}/group"), &body).await?)
    }
}

/// The arguments of `admin groups remove`.
#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    user: OneUser,
}

impl Remove {
    /// Takes the user out of their group.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Take {user} out of their group?");
        let (client, path) = self.user.confirmed(question, stop).await?;
        client.print_one(&client.put(&format!("{path}/group"), &Map::new()).await?)
    }
}
