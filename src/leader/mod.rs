//! The leader's roles, one file each. Only the elected replica runs them.
//!
//! A role can be stopped at any point and restarted, and an old leader's role can overlap with its successor's: every
//! write carries an expectation or a fence.

pub mod absence;
pub mod collection_cleanup;
pub mod dispatcher;
pub mod election;
pub mod erasure;
mod failed_operation;
pub mod fitness;
pub mod intake;
pub mod job_runner;
pub mod jobs;
pub mod liveness;
pub mod overdue;
pub mod projector;
pub mod reactions;
pub mod recreation;
pub mod requeue_released;
mod skip_frozen;
pub mod supervisor;
pub mod timers;
pub mod turns;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Policy;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{ReadModel, visit_all};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::agent_gate::AgentGate;
use crate::broker::assignments::Assignments;
use crate::broker::connect::Broker;
use crate::broker::holders::Holders;
use crate::broker::kick::Kick;
use crate::broker::streams::incarnation::StreamIncarnation;
use crate::broker::streams::{ASSIGNMENTS, REPORTS, TIMERS};
use crate::common::error::Cause;
use crate::event_log::EventLog;
use crate::event_log::jetstream::JetStreamLog;
use crate::execute::Executor;
use crate::leader::erasure::ErasureProcess;
use crate::leader::overdue::Overdue;
use crate::leader::reactions::account_disabled::AccountDisabled;
use crate::leader::reactions::account_erased::AccountErased;
use crate::leader::reactions::backend_draining::BackendDraining;
use crate::leader::reactions::backend_lost::BackendLost;
use crate::leader::reactions::backend_removed::BackendRemoved;
use crate::leader::reactions::key_changed::KeyChanged;
use crate::leader::recreation::Recreation;
use crate::metrics::Metrics;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use dispatcher::Dispatcher;
use intake::Intake;
use liveness::Liveness;
use projector::Projectors;
use supervisor::supervise;
use timers::Timers;
use webhooks::{DeliverWebhooks, WebhookPorts};

/// Released aggregates that can wait to be re-queued; a projector that releases more waits.
const MAX_PENDING_RELEASES: usize = 1024;

/// What the roles need.
#[derive(Clone)]
pub struct Leader {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// The connection to the broker on which everything that agents send arrives.
    pub agents: Broker,
    /// JetStream, for the roles' own consumers.
    pub jetstream: Context,
    /// The stream TIMERS.
    pub timers: Stream,
    /// Executes commands.
    pub executor: Arc<Executor>,
    /// This replica's view of the log and the fleet.
    pub follower: Arc<Follower>,
    /// The last heartbeats.
    pub heartbeats: Arc<HeartbeatRegistry>,
    /// Limits what backends send.
    pub gate: Arc<AgentGate>,
    /// Who holds each backend.
    pub holders: Arc<Holders>,
    /// The stream ASSIGNMENTS.
    pub assignments: Assignments,
    /// The projectors.
    pub projectors: Projectors,
    /// Deadlines of instances.
    pub policy: Policy,
    /// A backend that sends no heartbeat for longer is lost.
    pub lost_after: Duration,
    /// Closes backends' connections.
    pub kick: Kick,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// What is sent to webhooks, and how.
    pub webhooks: WebhookPorts,
}

/// The roles of one term.
struct Roles {
    tasks: TaskTracker,
    leader: Arc<Leader>,
    cancel: CancellationToken,
}

impl Roles {
    fn start<F>(&self, role: &'static str, run: impl Fn(Arc<Leader>, CancellationToken) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Cause>> + Send + 'static,
    {
        let (leader, metrics) = (Arc::clone(&self.leader), Arc::clone(&self.leader.metrics));
        self.tasks.spawn(supervise(role, metrics, self.cancel.clone(), move |cancel| run(Arc::clone(&leader), cancel)));
    }
}

/// Starts the projector of each read model.
struct StartProjectors<'a> {
    roles: &'a Roles,
    released: mpsc::Sender<AggregateId>,
}

impl ModelVisitor for StartProjectors<'_> {
    type Output = ();

    fn visit<M: ReadModel>(&mut self) {
        let released = self.released.clone();
        self.roles.start(M::NAME, move |leader, cancel| leader.projectors.clone().run::<M>(released.clone(), cancel));
    }
}

impl Leader {
    /// Runs all roles for one term, until `cancel` is cancelled.
    pub async fn term(self, cancel: CancellationToken) {
        // Placements need an up-to-date view of the fleet.
        if cancel.run_until_cancelled(self.follower.wait_until_caught_up()).await.is_none() {
            return;
        }
        let roles = Roles { tasks: TaskTracker::new(), leader: Arc::new(self), cancel };
        let (released, receiver) = mpsc::channel(MAX_PENDING_RELEASES);
        visit_all(&mut StartProjectors { roles: &roles, released });
        roles.start("collection-cleanup", Leader::clean_up_collections);
        roles.start("instances", Leader::serve_instances);
        roles.start("timers", Leader::serve_deadlines);
        roles.start("backend-lost", |leader, cancel| leader.backend_lost().run(cancel));
        roles.start("backend-draining", |leader, cancel| leader.backend_draining().run(cancel));
        roles.start("backend-removed", |leader, cancel| leader.backend_removed().run(cancel));
        roles.start("key-changed", |leader, cancel| leader.key_changed().run(cancel));
        roles.start("account-disabled", |leader, cancel| leader.account_disabled().run(cancel));
        roles.start("account-erased", |leader, cancel| leader.account_erased().run(cancel));
        roles.start("recreation", |leader, cancel| leader.recreation().run(cancel));
        roles.start("overdue", |leader, cancel| leader.overdue().run(cancel));
        roles.start("liveness", |leader, cancel| leader.liveness().run(cancel));
        roles.start("webhooks", |leader, cancel| leader.deliver_webhooks().run(cancel));
        let Roles { tasks, leader, cancel } = roles;
        tasks.spawn(async move {
            let (dispatcher, timers) = (leader.dispatcher(), leader.deadlines());
            requeue_released::run(receiver, (&leader.executor, &dispatcher, &timers), &cancel).await;
        });
        tasks.close();
        tasks.wait().await;
    }

    async fn clean_up_collections(self: Arc<Self>, cancel: CancellationToken) -> Result<(), Cause> {
        collection_cleanup::run(self.projectors.store.clone(), cancel).await
    }

    /// Intake and dispatcher run together: intake uses the dispatcher to reconcile after a report without an event.
    async fn serve_instances(self: Arc<Self>, cancel: CancellationToken) -> Result<(), Cause> {
        let assignments = StreamIncarnation::read(&self.jetstream, ASSIGNMENTS).await?;
        let reports = StreamIncarnation::read(&self.jetstream, REPORTS).await?;
        let dispatcher = Arc::new(self.dispatcher());
        let intake = Intake {
            jetstream: self.agents.jetstream().clone(),
            reports,
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            policy: self.policy,
            gate: Arc::clone(&self.gate),
            holders: Arc::clone(&self.holders),
            assignments: self.assignments.clone(),
            dispatcher: Arc::clone(&dispatcher),
        };
        // When one exits, both are restarted.
        tokio::select! {
            outcome = dispatcher.run(&self.follower, assignments, cancel.clone()) => outcome,
            outcome = intake.run(cancel) => outcome,
            replaced = assignments.until_replaced(&self.jetstream) => Err(replaced.into()),
            replaced = reports.until_replaced(&self.jetstream) => Err(replaced.into()),
        }
    }

    async fn serve_deadlines(self: Arc<Self>, cancel: CancellationToken) -> Result<(), Cause> {
        let timers = StreamIncarnation::read(&self.jetstream, TIMERS).await?;
        tokio::select! {
            outcome = self.deadlines().run(timers, cancel) => outcome,
            replaced = timers.until_replaced(&self.jetstream) => Err(replaced.into()),
        }
    }

    fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            assignments: self.assignments.clone(),
            store: self.projectors.store.clone(),
        }
    }

    fn deadlines(&self) -> Timers {
        Timers {
            jetstream: self.jetstream.clone(),
            stream: self.timers.clone(),
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            policy: self.policy,
            metrics: Arc::clone(&self.metrics),
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

    fn backend_draining(&self) -> BackendDraining {
        BackendDraining {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            keyring: Arc::clone(self.log.keyring()),
            assignments: self.assignments.clone(),
            policy: self.policy,
        }
    }

    fn backend_removed(&self) -> BackendRemoved {
        BackendRemoved {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            assignments: self.assignments.clone(),
            policy: self.policy,
        }
    }

    fn key_changed(&self) -> KeyChanged {
        KeyChanged { log: Arc::clone(&self.log), kick: self.kick.clone(), follower: Arc::clone(&self.follower) }
    }

    fn account_disabled(&self) -> AccountDisabled {
        AccountDisabled {
            log: Arc::clone(&self.log),
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
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
            follower: Arc::clone(&self.follower),
            policy: self.policy,
        }
    }

    fn overdue(&self) -> Overdue {
        Overdue {
            executor: Arc::clone(&self.executor),
            store: self.projectors.store.clone(),
            heartbeats: Arc::clone(&self.heartbeats),
            policy: self.policy,
        }
    }

    fn recreation(&self) -> Recreation {
        Recreation { executor: Arc::clone(&self.executor), follower: Arc::clone(&self.follower), policy: self.policy }
    }

    fn deliver_webhooks(&self) -> DeliverWebhooks {
        DeliverWebhooks {
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            store: self.projectors.store.clone(),
            metrics: Arc::clone(&self.metrics),
            ports: self.webhooks.clone(),
        }
    }

    fn liveness(&self) -> Liveness {
        Liveness {
            executor: Arc::clone(&self.executor),
            follower: Arc::clone(&self.follower),
            heartbeats: Arc::clone(&self.heartbeats),
            lost_after: self.lost_after,
        }
    }
}
