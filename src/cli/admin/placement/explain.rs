//! `dockhost admin placement explain`.

use clap::Args;
use dockhost_domain::labels::Label;
use serde_json::{Map, Value, json};

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::labels::object;
use crate::cli::api::output::Output;

/// The columns of the table.
const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "/username"),
    ("ELIGIBLE", "/eligible"),
    ("WHY NOT", "/explanation"),
    ("CONTAINERS", "/containers"),
    ("MAX", "/maxContainers"),
    ("MEMORY", "/memoryMib/used"),
    ("MAX", "/memoryMib/max"),
    ("CPU", "/cpu/used"),
    ("MAX", "/cpu/max"),
    ("REFUSALS", "/recentRefusals"),
    ("ID", "/id"),
];

/// The arguments of `admin placement explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Whose instance it would be, by name or id: whether this user may have another one counts then.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A label that its backend must have; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    requires: Vec<Label>,
    /// One of the server's sizes.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cpu", "memory_mib", "pids"])]
    size: Option<String>,
    /// Processor time, in processors.
    #[arg(long, value_name = "N")]
    cpu: Option<f64>,
    /// Memory, in MiB.
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u32>,
    /// Processes and threads.
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Explain {
    /// Explains the placement.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let mut body = Map::new();
        if let Some(user) = &self.user {
            body.insert("userId".to_owned(), client.find("admin/users", "user", user).await?.into());
        }
        let size = [("size", self.size.map(Value::from)), ("cpu", self.cpu.map(Value::from))];
        let limits = [("memoryMib", self.memory_mib.map(Value::from)), ("pids", self.pids.map(Value::from))];
        let members = size.into_iter().chain(limits);
        body.extend(members.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if !self.requires.is_empty() {
            body.insert("requires".to_owned(), object(self.requires));
        }
        let explanation = client.post("admin/placement/explain", &body).await?;
        if self.api.output == Output::Json {
            return client.print_one(&explanation);
        }
        let backends = explanation["backends"].as_array().map(Vec::as_slice).unwrap_or_default();
        client.print_list(backends, COLUMNS)?;
        let name =
            |id: &Value| backends.iter().find(|backend| backend["id"] == *id).map(|backend| &backend["username"]);
        let outcome = match &explanation["refusal"] {
            Value::Null => json!({ "chosen": name(&explanation["chosen"]) }),
            refusal => json!({ "refused": refusal["code"], "why": refusal["message"] }),
        };
        client.print_one(&outcome)
    }
}
