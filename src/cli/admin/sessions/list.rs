//! `dockhost admin sessions list`.

use clap::Args;

use crate::cli::api::client::{ApiArgs, Client};

/// The arguments of `admin sessions list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this user: username or id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
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
        let sessions = client.list("admin/sessions", &[("user", user)]).await?;
        client.print_list(
            &sessions,
            &[
                ("OWNER", "/owner/username"),
                ("KIND", "/owner/kind"),
                ("TOKEN", "/isToken"),
                ("STARTED", "/startedAt"),
                ("EXPIRES", "/expiresAt"),
                ("ID", "/id"),
            ],
        )
    }
}
