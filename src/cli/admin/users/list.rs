//! `dockhost admin users list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin users list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those whose username or email address contains this text.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only those with this role: user or admin.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Only those in this state: active, disabled or erased [default: all but erased].
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only the members of this group: name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
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
        let group = client.find_if_given("admin/groups", "group", self.group.as_deref()).await?;
        let query = [("search", self.search), ("role", self.role), ("state", self.state), ("group", group)];
        let users = client.list("admin/users", &query).await?;
        client.print_list(
            &users,
            &[
                ("NAME", "/username"),
                ("ROLE", "/role"),
                ("STATE", "/state"),
                ("INSTANCES", "/instances"),
                ("CPU", "/cpu"),
                ("MEMORY MIB", "/memoryMib"),
                ("GROUP", "/group/name"),
                ("SIGNED IN", "/lastSignInAt"),
                ("CREATED", "/createdAt"),
                ("EMAIL", "/email"),
                ("ID", "/id"),
            ],
        )
    }
}
