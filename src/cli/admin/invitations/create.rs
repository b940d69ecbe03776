//! `dockhost admin invitations create`.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin invitations create`.
#[derive(Debug, Args)]
pub struct Create {
    /// For how long the invitation can be used, in seconds [default: a week].
    #[arg(long, value_name = "SECONDS")]
    valid_for: Option<u32>,
    /// The most instances of the person [default: that of the group or of the server's configuration].
    #[arg(long, value_name = "NUMBER")]
    max_instances: Option<u32>,
    /// The most processors that their instances may use in all [default: that of the group].
    #[arg(long, value_name = "PROCESSORS")]
    max_cpu: Option<f64>,
    /// The most memory that they may use in all, in MiB [default: that of the group].
    #[arg(long, value_name = "MIB")]
    max_memory_mib: Option<u32>,
    /// The group that the person is put into: name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Create {
    /// Creates the invitation.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let members = [
            ("validForSeconds", self.valid_for.map(Value::from)),
            ("maxInstances", self.max_instances.map(Value::from)),
            ("maxCpu", self.max_cpu.map(Value::from)),
            ("maxMemoryMib", self.max_memory_mib.map(Value::from)),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let mut body: Map<String, Value> = given.collect();
        let client = Client::new(&self.api)?;
        if let Some(group) = &self.group {
            body.insert("groupId".to_owned(), client.find("admin/groups", "group", group).await?.into());
        }
        client.print_one(&client.send(Method::POST, "admin/invitations", |request| request.json(&body)).await?)
    }
}
