//! `dockhost erase-user`: appends the erasure of a person to the log, then shows each step until the key is destroyed.
//!
//! The leader runs the steps. This command only watches, so it may be stopped and run again at any point.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::{ArgAction, Args};
use dockhost_domain::account::{Account, EraseAccount, ErasedBy};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::tenancy::Tenancy;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterArgs};
use super::confirmation;
use crate::accounts::erase::erase;
use crate::broker::assignments::Assignments;
use crate::broker::streams::remake::{self, StreamSight};
use crate::broker::streams::{LEADER_BUCKET, LEADER_STREAM};
use crate::execute::Executor;
use crate::leader::election;
use crate::leader::erasure::{ErasureProcess, NextStep};

/// Exit code if the command ends before the erasure is complete.
const EXIT_IN_PROGRESS: u8 = 3;
/// How often the command checks the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The arguments of `erase-user`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 complete (with `--wait false`: recorded), 1 nothing was done, 3 recorded but not yet \
                  complete.\nThe erasure frees the names: to check it again, use the id that the command printed."
)]
pub struct EraseUser {
    /// Username, email address or id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    /// Wait until the key is destroyed, and show the steps.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    wait: bool,
    /// Maximum number of seconds to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl EraseUser {
    /// Erases the user.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        self.cluster.with(|cluster| self.erase(cluster, &stop)).await
    }

    async fn erase(
        &self,
        Cluster { broker, log, store }: Cluster,
        stop: &CancellationToken,
    ) -> anyhow::Result<ExitCode> {
        let js = broker.jetstream().clone();
        let keyring = Arc::clone(log.keyring());
        let erasure = ErasureProcess {
            executor: Executor::new(log),
            keyring,
            assignments: Assignments::open(broker.jetstream()).await?,
            store,
        };
        let Some(user_id) = erasure.find(&self.user).await.map_err(anyhow::Error::from_boxed)? else {
            bail!("there is no user {:?}; nothing was done", self.user);
        };
        if erasure.executor.confirmed::<Account>(user_id).await?.state.erased {
            println!("user {user_id} is erased in the log");
        } else {
            if !self.is_confirmed(&erasure, user_id, stop).await? {
                bail!("nothing was done");
            }
            let origin = Origin::new(Actor::Operator, "command:erase-user");
            let command = EraseAccount { by: ErasedBy::Operator };
            erase(&erasure.executor, &erasure.keyring, user_id, &command, &origin).await?;
            println!("user {user_id} is erased in the log; username and email are free");
        }
        // A broker of one node that was restarted has no such stream until a server acquires the lease.
        let is_missing = remake::look(&js, LEADER_STREAM).await == StreamSight::Missing;
        if is_missing || !election::has_leader(&js.get_key_value(LEADER_BUCKET).await?).await? {
            println!("there is no leader now: the erasure continues when a replica runs (`dockhost serve`)");
        }
        if !self.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let finished = tokio::time::timeout(Duration::from_secs(self.timeout), wait_until_erased(&erasure, user_id));
        match stop.run_until_cancelled(finished).await {
            Some(Ok(done)) => done.map(|()| ExitCode::SUCCESS),
            Some(Err(_)) | None => {
                println!("not complete yet; the leader continues. To check: dockhost erase-user {user_id}");
                Ok(ExitCode::from(EXIT_IN_PROGRESS))
            }
        }
    }

    /// Asks for confirmation on the terminal, unless `--yes` was given.
    async fn is_confirmed(
        &self,
        erasure: &ErasureProcess,
        user_id: UserId,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!("nothing was done: this can't be undone, so it needs --yes or a confirmation on a terminal");
        }
        let account = erasure.executor.confirmed::<Account>(user_id).await?.state;
        let instances = erasure.executor.confirmed::<Tenancy>(user_id).await?.state.existing().count();
        let since = account.profile.as_ref().map(|profile| profile.created_at.to_string()).unwrap_or_default();
        print!(
            "Erase user {user_id}, registered {since}, with {instances} instances? This can't be undone. Type yes: "
        );
        Ok(confirmation::yes_is_typed(stop).await?)
    }
}

/// Prints each step, until the erasure is complete.
async fn wait_until_erased(erasure: &ErasureProcess, user_id: UserId) -> anyhow::Result<()> {
    let mut last_printed = None;
    loop {
        let step = match erasure.next_step(user_id).await {
            Ok(NextStep::Nothing) => {
                println!("complete: the key is destroyed, so the person's data in the log can't be decrypted");
                return Ok(());
            }
            Ok(step) => format!("waiting for {step}"),
            Err(error) => format!("the progress can't be read now: {error}"),
        };
        if last_printed.as_ref() != Some(&step) {
            println!("{step}");
            last_printed = Some(step);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
