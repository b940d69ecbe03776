//! `dockhost admin create`: creates an administrator in the log, whether servers run or not.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use dockhost_domain::account::Role;
use dockhost_domain::administrators::ChangedBy;
use dockhost_domain::claim::Claim;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::subject::ClaimKind;
use secrecy::{ExposeSecret, SecretString};

use crate::accounts::create::{NewAdministrator, create_administrator};
use crate::accounts::role::change_role;
use crate::auth::password::Passwords;
use crate::auth::password_rules;
use crate::cli::connection::{self, ConnectionArgs};
use crate::cli::password;
use crate::event_log::EventLog;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;

/// The arguments of `admin create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --existing the password is asked for on the terminal, or read from the first line of standard \
                  input.\nExit codes: 0 done, 1 nothing was done."
)]
pub struct Create {
    /// The username; names that are reserved at sign-up, such as `admin`, are allowed.
    #[arg(value_name = "NAME")]
    name: Username,
    /// The email address, with which the administrator can sign in too.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "existing")]
    email: Option<String>,
    /// Make the user who has this name an administrator, with the password that they have. Make sure that it is who you
    /// think: anyone may have signed up with a name.
    #[arg(long)]
    existing: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Create {
    /// Asks for the password, and creates the administrator.
    ///
    /// # Errors
    /// The name is taken, the password is refused, or the log can't be read or written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.existing {
            return crate::cli::block_on(|_| self.promote());
        }
        if self.email.as_ref().is_some_and(|email| !email.contains('@')) {
            bail!("--email is not an email address; nothing was done");
        }
        let password = password::read_new()?;
        if !password_rules::has_valid_length(password.expose_secret()) {
            bail!("a password has 8 to 128 characters; nothing was done");
        }
        let names = [Some(self.name.as_str()), self.email.as_deref()].into_iter().flatten();
        if let Err(weak) = password_rules::check(password.expose_secret(), names) {
            bail!("the password {weak}; nothing was done");
        }
        crate::cli::block_on(|_| self.create(password))
    }

    async fn create(&self, password: SecretString) -> anyhow::Result<ExitCode> {
        let (executor, log) = self.open().await?;
        let new = NewAdministrator {
            username: self.name.clone(),
            email: self.email.clone(),
            password_verifier: Passwords::new()?.hash(password).await?,
            only_as_the_first: false,
        };
        let user_id = create_administrator(&executor, log.keyring(), &new, &origin())
            .await
            .context("nothing was done (--existing makes an existing user an administrator)")?;
        println!("created the administrator {} ({user_id})", self.name);
        Ok(ExitCode::SUCCESS)
    }

    async fn promote(&self) -> anyhow::Result<ExitCode> {
        let (executor, log) = self.open().await?;
        let claim = log.keyring().claim(ClaimKind::Username, self.name.as_str());
        let Some(owner) = executor.confirmed::<Claim>(claim).await?.state.owner else {
            bail!("there is no user {}; nothing was done", self.name);
        };
        let user_id = UserId::from_uuid(owner.uuid());
        change_role(&executor, user_id, Role::Admin, ChangedBy::Operator, &origin())
            .await
            .context("nothing was done")?;
        println!("{} ({user_id}) is an administrator", self.name);
        Ok(ExitCode::SUCCESS)
    }

    async fn open(&self) -> anyhow::Result<(Arc<Executor>, Arc<JetStreamLog>)> {
        let (secrets, urls) = self.connection.resolve()?;
        let broker = connection::connect(&secrets.nats, &urls, "dockhost-admin").await?;
        let log = Arc::new(JetStreamLog::open_existing(broker.client().clone(), secrets.master_key).await?);
        Ok((Executor::new(Arc::clone(&log) as Arc<dyn EventLog>), log))
    }
}

fn origin() -> Origin {
    Origin::new(Actor::Operator, "command:admin-create")
}
