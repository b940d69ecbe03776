//! `dockhost admin instances stop`, `resume` and `delete`.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::api::action::Action;
use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::confirmation;

/// The arguments of `admin instances stop`, `resume` and `delete`.
#[derive(Debug, Args)]
pub struct Change {
    /// Id of the instance.
    #[arg(value_name = "INSTANCE")]
    id: uuid::Uuid,
    /// What the owner is told.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Change {
    /// Changes the instance.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, action: Action, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let (method, path, what) = match action {
            Action::Stop => (Method::POST, "/stop", "Stop"),
            Action::Resume => (Method::POST, "/resume", "Resume"),
            Action::Delete => (Method::DELETE, "", "Delete"),
        };
        confirmation::require(self.yes, &format!("{what} the instance {}?", self.id), stop).await?;
        let body = Map::from_iter(self.reason.map(|reason| ("reason".to_owned(), Value::from(reason))));
        let path = format!("admin/instances/{}{path}", self.id);
        client.print_one(&client.send(method, &path, |request| request.json(&body)).await?)
    }
}
