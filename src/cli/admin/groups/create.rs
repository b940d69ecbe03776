//! `dockhost admin groups create`.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin groups create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name, for example biology-7b.
    #[arg(value_name = "NAME")]
    name: String,
    /// The most instances of each member [default: that of the server's configuration].
    #[arg(long, value_name = "NUMBER")]
    max_instances: Option<u32>,
    /// The most processors that the instances of each member may use in all [default: no limit].
    #[arg(long, value_name = "PROCESSORS")]
    max_cpu: Option<f64>,
    /// The most memory that they may use in all, in MiB [default: no limit].
    #[arg(long, value_name = "MIB")]
    max_memory_mib: Option<u32>,
    /// When the members' instances are stopped, for example 2027-07-15T18:00:00Z [default: never].
    #[arg(long, value_name = "TIME")]
    ends_at: Option<String>,
    /// For how many minutes an instance of a member may run [default: no limit].
    #[arg(long, value_name = "MINUTES")]
    time_to_live: Option<u32>,
    /// After how many minutes without an SSH connection an instance of a member is stopped [default: never].
    #[arg(long, value_name = "MINUTES")]
    autostop: Option<u32>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Create {
    /// Creates the group.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let mut body = Map::from_iter([("name".to_owned(), Value::from(self.name))]);
        body.extend(self.max_instances.map(|count| ("maxInstances".to_owned(), count.into())));
        body.extend(self.max_cpu.map(|processors| ("maxCpu".to_owned(), processors.into())));
        body.extend(self.max_memory_mib.map(|mib| ("maxMemoryMib".to_owned(), mib.into())));
        body.extend(self.ends_at.map(|time| ("endsAt".to_owned(), time.into())));
        body.extend(self.time_to_live.map(|minutes| ("timeToLiveMinutes".to_owned(), minutes.into())));
        body.extend(self.autostop.map(|minutes| ("autostopMinutes".to_owned(), minutes.into())));
        let client = Client::new(&self.api)?;
        client.print_one(&client.post("admin/groups", &body).await?)
    }
}
