//! `dockhost erase-user`: a person is erased, for good.
//!
//! In: whom. Out: the erasure in the log, and each step as it happens, until the key is destroyed. The steps are the
//! leader's: this looks on, so it may be stopped and run again at any point.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::{ArgAction, Args};
use dockhost_domain::account::{Account, ErasedBy};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::tenancy::Tenancy;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterArgs};
use crate::broker::assignments::Assignments;
use crate::broker::streams::{ASSIGNMENTS, LEADER_BUCKET};
use crate::execute::Executor;
use crate::leader::election;
use crate::leader::erasure::{ErasureProcess, NextStep};

/// The exit code when the erasure goes on without us.
const EXIT_IN_PROGRESS: u8 = 3;
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What `erase-user` is told.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done (with `--wait false`: recorded), 1 nothing was done, 3 recorded and still under \
                        way.\nA name means whoever has it now: to look at an erasure again, give the id that was printed."
)]
pub struct EraseUser {
    /// The username, the email address or the id.
    #[arg(value_name = "USER")]
    user: String,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// Show the steps until the key is destroyed.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    wait: bool,
    /// Look on for so many seconds at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl EraseUser {
    /// Erases.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        self.cluster.with(|opened| self.erase(opened, &stop)).await
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
            assignments: Assignments::new(js.clone(), js.get_stream(ASSIGNMENTS).await?),
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
            let origin = Origin { actor: Actor::System, cause: "command:erase-user".to_owned(), trace_parent: None };
            erasure.begin(user_id, ErasedBy::Operator, &origin).await?;
            println!("user {user_id} is erased in the log; username and email are free");
        }
        let leader = js.get_key_value(LEADER_BUCKET).await?;
        if !election::has_leader(&leader).await? {
            println!("no replica leads now: the rest waits until one runs (`dockhost serve`)");
        }
        if !self.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let finished = tokio::time::timeout(Duration::from_secs(self.timeout), wait_until_erased(&erasure, user_id));
        match stop.run_until_cancelled(finished).await {
            Some(Ok(done)) => done.map(|()| ExitCode::SUCCESS),
            Some(Err(_)) | None => {
                println!("still under way; it goes on by itself. Look again: dockhost erase-user {user_id}");
                Ok(ExitCode::from(EXIT_IN_PROGRESS))
            }
        }
    }

    /// Asks whoever sits there; without them, only `--yes` will do.
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
            bail!("this can't be undone: say --yes, or answer on a terminal; nothing was done");
        }
        let account = erasure.executor.confirmed::<Account>(user_id).await?.state;
        let instances = erasure.executor.confirmed::<Tenancy>(user_id).await?.state.existing().count();
        let since = account.profile.as_ref().map(|profile| profile.created_at.to_string()).unwrap_or_default();
        print!("Erase user {user_id}, here since {since}, with {instances} instances, for good? Type yes: ");
        std::io::stdout().flush()?;
        let (answer, answered) = oneshot::channel();
        // A thread of its own, which nobody waits for: reading a terminal can't be interrupted.
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
            let _ = answer.send(line.trim() == "yes");
        });
        Ok(stop.run_until_cancelled(answered).await.is_some_and(|answered| answered.unwrap_or(false)))
    }
}

/// Says what is waited for, until nothing is.
async fn wait_until_erased(erasure: &ErasureProcess, user_id: UserId) -> anyhow::Result<()> {
    let mut last_printed = None;
    loop {
        let due = match erasure.next_step(user_id).await {
            Ok(NextStep::Nothing) => {
                println!("the key is destroyed: what the log holds of them can't be opened any more");
                return Ok(());
            }
            Ok(due) => format!("waits for {due}"),
            Err(error) => format!("can't be looked at now: {error}"),
        };
        if last_printed.as_ref() != Some(&due) {
            println!("{due}");
            last_printed = Some(due);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
