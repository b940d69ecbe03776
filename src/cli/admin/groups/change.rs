//! `dockhost admin groups change`.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::limit;
use crate::cli::confirmation;

/// The arguments of `admin groups change`.
#[derive(Debug, Args)]
pub struct Change {
    /// Name or id.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Its new name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The most instances of each member.
    #[arg(long, value_name = "NUMBER", conflicts_with = "default_instances")]
    max_instances: Option<u32>,
    /// Its members may have as many instances as the server's configuration says.
    #[arg(long)]
    default_instances: bool,
    /// The most processors that the instances of each member may use in all; `none` for no limit.
    #[arg(long, value_name = "PROCESSORS", value_parser = limit::processors)]
    max_cpu: Option<Value>,
    /// The most memory that they may use in all, in MiB; `none` for no limit.
    #[arg(long, value_name = "MIB", value_parser = limit::whole)]
    max_memory_mib: Option<Value>,
    /// When the members' instances are stopped, for example 2027-07-15T18:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "no_end")]
    ends_at: Option<String>,
    /// The group has no end.
    #[arg(long)]
    no_end: bool,
    /// For how many minutes an instance of a member may run.
    #[arg(long, value_name = "MINUTES", conflicts_with = "no_time_to_live")]
    time_to_live: Option<u32>,
    /// The members' instances may run without a limit.
    #[arg(long)]
    no_time_to_live: bool,
    /// After how many minutes without an SSH connection an instance of a member is stopped.
    #[arg(long, value_name = "MINUTES", conflicts_with = "no_autostop")]
    autostop: Option<u32>,
    /// The members' instances are not stopped when nobody is connected.
    #[arg(long)]
    no_autostop: bool,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Change {
    /// Changes the group.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure), or there is no confirmation.
    pub async fn run(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = client.find("admin/groups", "group", &self.group).await?;
        confirmation::require(self.yes, &format!("Change the group {} ({id})?", self.group), stop).await?;
        let mut body = Map::new();
        body.extend(self.name.map(|name| ("name".to_owned(), name.into())));
        body.extend(self.max_instances.map(|count| ("maxInstances".to_owned(), count.into())));
        body.extend(self.default_instances.then_some(("maxInstances".to_owned(), Value::Null)));
        body.extend(self.max_cpu.map(|limit| ("maxCpu".to_owned(), limit)));
        body.extend(self.max_memory_mib.map(|limit| ("maxMemoryMib".to_owned(), limit)));
        body.extend(self.ends_at.map(|time| ("endsAt".to_owned(), time.into())));
        body.extend(self.no_end.then_some(("endsAt".to_owned(), Value::Null)));
        body.extend(self.time_to_live.map(|minutes| ("timeToLiveMinutes".to_owned(), minutes.into())));
        body.extend(self.no_time_to_live.then_some(("timeToLiveMinutes".to_owned(), Value::Null)));
        body.extend(self.autostop.map(|minutes| ("autostopMinutes".to_owned(), minutes.into())));
        body.extend(self.no_autostop.then_some(("autostopMinutes".to_owned(), Value::Null)));
        let path = format!("admin/groups/{id}");
        client.print_one(&client.send(Method::PATCH, &path, |request| request.json(&body)).await?)
    }
}
