//! The leader's roles: one file each, run by the one replica that is elected.
//!
//! In: the log, the reports, the heartbeats, the timers. Out: read models, assignments, commands. Every role may be
//! stopped anywhere and run again, and two may run at once: what each writes carries an expectation or a fence. Roles
//! are supervised: one that ends is run again after a pause, for as long as the term lasts.

pub mod dispatcher;
pub mod election;
pub mod erasure;
pub mod fitness;
pub mod intake;
pub mod job_runner;
pub mod liveness;
pub mod projector;
pub mod reactions;
pub mod requeue_released;
pub mod timers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Policy;
use dockhost_projections::backends::Backends;
use dockhost_projections::instances::Instances;
use dockhost_projections::model::ReadModel;
use dockhost_projections::sessions::Sessions;
use dockhost_projections::users::Users;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::assignments::Assignments;
use crate::broker::connect::Broker;
use crate::common::error::Cause;
use crate::common::error::chain;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;
use crate::leader::erasure::ErasureProcess;
use crate::leader::job_runner::catch_panic;
use crate::leader::reactions::account_erased::AccountErased;
use crate::leader::reactions::backend_lost::BackendLost;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use dispatcher::Dispatcher;
use intake::Intake;
use liveness::Liveness;
use projector::Projectors;
use timers::Timers;

/// A role that ended is run again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// Released aggregates that may wait to be looked at.
const RELEASED: usize = 1024;

/// When the streams were made, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct StreamCreatedAt {
    /// ASSIGNMENTS.
    pub assignments: u64,
    /// REPORTS.
    pub reports: u64,
    /// TIMERS.
    pub timers: u64,
}

/// What the roles work with.
#[derive(Clone)]
pub struct Leader {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// The broker.
    pub broker: Broker,
    /// Its streams, for the roles' own consumers.
    pub jetstream: Context,
    /// The stream TIMERS.
    pub timers: Stream,
    /// When they were made.
    pub streams_created_at: StreamCreatedAt,
    /// Runs commands.
    pub executor: Arc<Executor>,
    /// Knows the log and the machines.
    pub follower: Arc<Follower>,
    /// Knows the heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// What the machines should do.
    pub assignments: Assignments,
    /// The read models.
    pub projectors: Projectors,
    /// How long things may take.
    pub policy: Policy,
    /// A machine that was silent for longer is lost.
    pub lost_after: Duration,
}

impl Leader {
    /// One term: all roles, until it is over.
    pub async fn term(self, over: CancellationToken) {
        // Decisions of the leader rest on this replica's knowledge of the machines.
        if over.run_until_cancelled(self.follower.wait_until_caught_up()).await.is_none() {
            return;
        }
        let roles = TaskTracker::new();
        let this = Arc::new(self);
        let (released, heard) = mpsc::channel(RELEASED);
        this.project::<Users>(&roles, &released, &over);
        this.project::<Backends>(&roles, &released, &over);
        this.project::<Instances>(&roles, &released, &over);
        this.project::<Sessions>(&roles, &released, &over);
        let (leader, until) = (Arc::clone(&this), over.clone());
        roles.spawn(async move {
            let (dispatcher, timers) = (leader.dispatcher(), leader.deadlines());
            requeue_released::run(heard, (&leader.executor, &dispatcher, &timers), &until).await;
        });
        let leader = Arc::clone(&this);
        roles.spawn(supervise("instances", over.clone(), move |over| Arc::clone(&leader).serve_instances(over)));
        let leader = Arc::clone(&this);
        roles.spawn(supervise("timers", over.clone(), move |over| leader.deadlines().run(over)));
        let leader = Arc::clone(&this);
        roles.spawn(supervise("backend-lost", over.clone(), move |over| leader.backend_lost().run(over)));
        let leader = Arc::clone(&this);
        roles.spawn(supervise("account-erased", over.clone(), move |over| leader.account_erased().run(over)));
        let leader = Arc::clone(&this);
        roles.spawn(supervise("liveness", over.clone(), move |over| {
            let judge = leader.liveness();
            async move {
                judge.run(over).await;
                Ok(())
            }
        }));
        roles.close();
        roles.wait().await;
    }

    fn project<M: ReadModel>(
        &self,
        roles: &TaskTracker,
        released: &mpsc::Sender<AggregateId>,
        over: &CancellationToken,
    ) {
        let (projectors, released) = (self.projectors.clone(), released.clone());
        let run = move |over| projectors.clone().run::<M>(released.clone(), over);
        roles.spawn(supervise(M::NAME, over.clone(), run));
    }

    /// Intake and dispatcher: the one has the other look where a report changed nothing.
    async fn serve_instances(self: Arc<Self>, over: CancellationToken) -> Result<(), Cause> {
        let dispatcher = Arc::new(self.dispatcher());
        let intake = Intake {
            jetstream: self.jetstream.clone(),
            incarnation: self.streams_created_at.reports,
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            policy: self.policy,
            dispatcher: Arc::clone(&dispatcher),
        };
        // When one ends, so does the other: they are run again together.
        tokio::select! {
            outcome = dispatcher.run(over.clone()) => outcome,
            outcome = intake.run(over) => outcome,
        }
    }

    fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            assignments: self.assignments.clone(),
            incarnation: self.streams_created_at.assignments,
        }
    }

    fn deadlines(&self) -> Timers {
        Timers {
            jetstream: self.jetstream.clone(),
            stream: self.timers.clone(),
            incarnation: self.streams_created_at.timers,
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            policy: self.policy,
        }
    }

    fn backend_lost(&self) -> BackendLost {
        BackendLost {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            assignments: self.assignments.clone(),
            policy: self.policy,
        }
    }

    fn account_erased(&self) -> AccountErased {
        AccountErased {
            log: Arc::clone(&self.log),
            erasure: ErasureProcess {
                executor: Arc::clone(&self.executor),
                keyring: Arc::clone(self.log.keyring()),
                assignments: self.assignments.clone(),
                store: self.projectors.store.clone(),
            },
            policy: self.policy,
        }
    }

    fn liveness(&self) -> Liveness {
        Liveness {
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            heartbeats: Arc::clone(&self.heartbeats),
            client: self.broker.client().clone(),
            lost_after: self.lost_after,
        }
    }
}

/// Runs a role, and again when it ends, until the term is over.
async fn supervise<F>(role: &'static str, over: CancellationToken, run: impl Fn(CancellationToken) -> F + Send)
where
    F: Future<Output = Result<(), Cause>> + Send,
{
    while !over.is_cancelled() {
        let ended = catch_panic(run(over.child_token())).await.unwrap_or_else(|panicked| Err(panicked.into()));
        if let Err(error) = ended {
            tracing::warn!(role, error = chain(&*error), "a role ended and is run again");
        }
        over.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_role_that_panics_or_fails_is_run_again() {
        let (runs, over) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (counted, end) = (Arc::clone(&runs), over.clone());
        let role = supervise("test", over, move |_| {
            let (run, end) = (counted.fetch_add(1, Ordering::SeqCst), end.clone());
            async move {
                match run {
                    0 => panic!("ordered by a test"),
                    1 => Err("ordered by a test".into()),
                    _ => {
                        end.cancel();
                        Ok(())
                    }
                }
            }
        });
        role.await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
    }
}
