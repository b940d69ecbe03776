//! `dockhost admin enrolment-tokens create`.

use clap::Args;
use dockhost_domain::labels::Label;
use reqwest::Method;
use serde_json::{Map, Value};

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::labels::object;

/// The arguments of `admin enrolment-tokens create`.
#[derive(Debug, Args)]
pub struct Create {
    /// For how long the token can be used, in seconds [default: a day].
    #[arg(long, value_name = "SECONDS")]
    valid_for: Option<u32>,
    /// The most containers of the backend [default: what it asks for].
    #[arg(long, value_name = "NUMBER")]
    max_containers: Option<u32>,
    /// A label of the backend; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Label>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Create {
    /// Creates the token.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let members = [("validForSeconds", self.valid_for), ("maxContainers", self.max_containers)];
        let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
        let mut body: Map<String, Value> = members.collect();
        if !self.labels.is_empty() {
            body.insert("labels".to_owned(), object(self.labels));
        }
        let client = Client::new(&self.api)?;
        client.print_one(&client.send(Method::POST, "admin/enrolment-tokens", |request| request.json(&body)).await?)
    }
}
