//! `dockhost admin users disable`.

use clap::Args;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::one::OneUser;

/// The arguments of `admin users disable`.
#[derive(Debug, Args)]
pub struct Disable {
    #[command(flatten)]
    user: OneUser,
    /// What happens to the running instances.
    #[arg(long, value_parser = ["stop", "leave"], default_value = "stop")]
    instances: String,
    /// What the user is told when they sign in.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Disable {
    /// Disables the account.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let question = |user: &str| format!("Disable the account of {user} and {} the instances?", self.instances);
        let (client, path) = self.user.confirmed(question, stop).await?;
        let mut body = Map::from_iter([("instances".to_owned(), Value::from(self.instances))]);
        body.extend(self.reason.map(|reason| ("reason".to_owned(), Value::from(reason))));
        client.print_one(&client.post(&format!("{path}/disable"), &body).await?)
    }
}
