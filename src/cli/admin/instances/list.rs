//! `dockhost admin instances list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin instances list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this user: username or id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only those of the members of this group: name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only those on this backend: name or id.
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// Only those with this status, for example running or unreachable.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only those whose name begins with this text.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those whose operation should have ended 10 seconds ago or earlier.
    #[arg(long)]
    overdue: bool,
    /// Only those that were requested before this time, for example 2026-11-26T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl List {
    /// Lists.
    ///
    /// # Errors
    /// [`Failure`](crate::cli::api::client::Failure).
    pub async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let user = client.find_if_given("admin/users", "user", self.user.as_deref()).await?;
        let backend = client.find_if_given("admin/backends", "backend", self.backend.as_deref()).await?;
        let group = client.find_if_given("admin/groups", "group", self.group.as_deref()).await?;
        let query = [
            ("user", user),
            ("group", group),
            ("backend", backend),
            ("status", self.status),
            ("name", self.name),
            ("overdue", self.overdue.then(|| "true".to_owned())),
            ("createdBefore", self.created_before),
        ];
        let instances = client.list("admin/instances", &query).await?;
        client.print_list(
            &instances,
            &[
                ("NAME", "/name"),
                ("OWNER", "/owner/username"),
                ("STATUS", "/status"),
                ("BACKEND", "/backend/name"),
                ("SSH", "/sshDetails/command"),
                ("CREATED", "/createdAt"),
                ("ID", "/instanceId"),
            ],
        )
    }
}
