//! The background tasks of one replica: services for agents, the follower, listeners, and the election.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::config::{InstanceArgs, MetricsArgs, ServerArgs};
use super::startup::{Connections, FollowerStart, Replica};
use super::supervise::Supervisor;
use super::{chart_sampler, memory_watch, totals};
use crate::auth::api_key::ApiKeys;
use crate::auth::backend_authenticator::LogBackendAuthenticator;
use crate::broker::assignments::Assignments;
use crate::broker::callout::Callout;
use crate::broker::clock_check::ClockCheck;
use crate::broker::delivery_watch::DeliveryWatch;
use crate::broker::durability;
use crate::broker::flood_guard::FloodGuard;
use crate::broker::hello::{Heartbeats, HelloHandler};
use crate::broker::jwt::Signer;
use crate::broker::kick::Kick;
use crate::broker::node_watch;
use crate::broker::service::Service;
use crate::broker::streams;
use crate::broker::write_probe;
use crate::common::port_owner;
use crate::common::shutdown::ShutdownStages;
use crate::event_log::EventLog;
use crate::execute::snapshots::SnapshotWriter;
use crate::http::app::App;
use crate::http::events::WebhookMessages;
use crate::http::limits::{RateLimits, exchange};
use crate::http::metrics;
use crate::http::server::{self, ConnectionLimits, Listener};
use crate::http::sockets::Sockets;
use crate::leader::Leader;
use crate::leader::election::{Election, TermEnd};
use crate::leader::fitness::Fitness;
use crate::leader::projector::Projectors;
use crate::leader::webhooks::WebhookPorts;
use crate::replica::confirm::ConfirmHandler;
use crate::replica::model_builder::ModelBuilder;
use crate::replica::standstill;

/// The services for agents, subscribed at the broker but not yet answering.
pub struct Services {
    callout: Callout,
    hello: Service<HelloHandler>,
    confirm: Service<ConfirmHandler>,
    signer: Arc<Signer>,
}

/// Subscribes the services at the broker.
pub async fn open_services(
    replica: &Replica,
    callout: &SecretString,
    api_keys: ApiKeys,
    instances: &InstanceArgs,
) -> anyhow::Result<Services> {
    let Connections { broker, agents, .. } = &replica.connections;
    let gate = &replica.gate;
    let assignments = Assignments::open(agents.jetstream()).await?;
    let executor = Arc::clone(&replica.executor);
    let authenticator = Arc::new(LogBackendAuthenticator::new(executor, assignments.clone(), api_keys));
    let signer = Arc::new(Signer::from_seed(callout)?);
    let hello = HelloHandler {
        holders: Arc::clone(&replica.holders),
        enrolments: authenticator.clone(),
        heartbeats: Arc::clone(&replica.heartbeats) as Arc<dyn Heartbeats>,
        lost_after: replica.heartbeats.lost_after(),
        image: instances.instance_image.clone(),
        overcommit: instances.overcommit(),
        reports: Arc::clone(replica.stream_watch.reports()),
        deliveries: Arc::clone(replica.assignments.deliveries()),
    };
    // Else the first hellos would be answered without it.
    if let Ok(found) = broker.jetstream().get_stream(streams::REPORTS).await {
        replica.stream_watch.reports().record(found.cached_info());
    }
    let (holders, executor) = (Arc::clone(&replica.holders), Arc::clone(&replica.executor));
    let confirm = ConfirmHandler { assignments, holders, executor };
    Ok(Services {
        signer: Arc::clone(&signer),
        callout: Callout::open(broker.clone(), Arc::clone(&signer), authenticator, Arc::clone(gate)).await?,
        hello: Service::open(agents.clone(), hello, Arc::clone(gate)).await?,
        confirm: Service::open(agents.clone(), confirm, Arc::clone(gate)).await?,
    })
}

impl Services {
    /// Starts to answer; returns what signs the answers of the callout.
    pub fn start(self, supervisor: &Supervisor) -> Arc<Signer> {
        supervisor.spawn("callout", |cancel| self.callout.run(cancel));
        supervisor.spawn("hello", |cancel| self.hello.run(cancel));
        supervisor.spawn("confirm", |cancel| self.confirm.run(cancel));
        self.signer
    }
}

/// Starts to ask how full the broker's nodes are.
pub fn start_store_room(supervisor: &Supervisor, replica: &Replica, nats_url: String, system: Option<SecretString>) {
    let room = Arc::clone(&replica.store_room);
    supervisor.spawn("store room", |cancel| room.run(nats_url, system, cancel));
}

/// Checks once, in the background, that the broker syncs each write to disk; logs a warning otherwise.
pub fn check_durability(supervisor: &Supervisor, nats_url: String, nats_system: Option<SecretString>) {
    supervisor.spawn_once(async move { durability::check(&nats_url, nats_system.as_ref()).await });
}

/// Starts to watch whether the broker's streams have leaders and store, some of which start-up needs, and the leader's roles.
pub fn start_stream_watch(supervisor: &Supervisor, replica: &Replica) {
    let Connections { broker, log, copies, .. } = &replica.connections;
    let (watch, watched, copies) = (Arc::clone(&replica.stream_watch), broker.clone(), *copies);
    let proof = Arc::clone(log.write_proof());
    supervisor.spawn("stream watch", move |cancel| watch.run(watched, proof, copies, cancel));
    let (roles, js) = (Arc::clone(&replica.role_watch), broker.jetstream().clone());
    supervisor.spawn("role watch", |cancel| roles.run(js, cancel));
}

/// Starts to watch the log's size and the leader's lease.
pub async fn start_log_monitor(supervisor: &Supervisor, replica: &Replica) -> anyhow::Result<()> {
    let Connections { broker, log, .. } = &replica.connections;
    let lease = broker.jetstream().get_key_value(streams::LEADER_BUCKET).await?;
    let (monitor, log) = (Arc::clone(&replica.log_monitor), Arc::clone(log));
    supervisor.spawn("log monitor", |cancel| monitor.run(log, lease, cancel));
    Ok(())
}

/// Starts to cut off backends that flood.
pub fn start_flood_guard(supervisor: &Supervisor, replica: &Replica, kick: Kick) {
    let (broker, gate) = (replica.connections.broker.clone(), Arc::clone(&replica.gate));
    let guard = FloodGuard { broker, gate, kick };
    supervisor.spawn_fallible("flood guard", |cancel| guard.run(cancel));
}

/// Starts the tasks that every replica runs.
pub fn start_replica(
    supervisor: &Supervisor,
    replica: &Replica,
    snapshot_writer: SnapshotWriter,
    start: FollowerStart,
) {
    let Connections { broker, agents, .. } = &replica.connections;
    let client = broker.client();
    supervisor.spawn("snapshots", |cancel| snapshot_writer.run(cancel));
    let follower = Arc::clone(&replica.follower);
    supervisor.spawn("follower", |cancel| follower.run(start.after, start.latest, cancel));
    let follower = Arc::clone(&replica.follower);
    supervisor.spawn("standstills", |cancel| standstill::log_changes(follower, cancel));
    let (feed, progress) = (Arc::clone(replica.follower.feed()), Arc::clone(&replica.progress));
    supervisor.spawn("feed", |cancel| feed.run(progress, cancel));
    let heartbeats = Arc::clone(&replica.heartbeats);
    let answer = (Arc::clone(replica.connections.log.write_proof()), Arc::clone(replica.stream_watch.reports()));
    supervisor.spawn_fallible("heartbeats", |cancel| {
        let (gate, holders) = (Arc::clone(&replica.gate), Arc::clone(&replica.holders));
        heartbeats.run(agents.client().clone(), gate, holders, answer, cancel)
    });
    let (jetstream, assignments) = (agents.jetstream().clone(), replica.assignments.clone());
    let watch = DeliveryWatch { jetstream, assignments, holders: Arc::clone(&replica.holders) };
    supervisor.spawn("delivery watch", |cancel| watch.run(cancel));
    let gate = Arc::clone(&replica.gate);
    supervisor.spawn("dropped messages", |cancel| async move { gate.log_dropped(cancel).await });
    let builder = ModelBuilder::new(Arc::clone(&replica.connections.log), replica.connections.store.clone());
    supervisor.spawn("model builder", |cancel| builder.run(cancel));
    let (probed, proof) = (broker.clone(), Arc::clone(replica.connections.log.write_proof()));
    let (own, of_agents, written) = (broker.clone(), agents.clone(), Arc::clone(&proof));
    supervisor.spawn("broker node", |cancel| node_watch::run(own, of_agents, written, cancel));
    supervisor.spawn("write probe", |cancel| write_probe::run(probed, proof, cancel));
    let (progress, follower) = (Arc::clone(&replica.progress), Arc::clone(&replica.follower));
    supervisor.spawn("checkpoints", |cancel| progress.watch(follower, cancel));
    let (progress, listening) = (Arc::clone(&replica.progress), client.clone());
    supervisor.spawn_fallible("projection progress", |cancel| async move { progress.listen(listening, cancel).await });
}

/// Compares the clock with the broker's, once before anything uses it, and then all the time.
pub async fn start_clock_check(supervisor: &Supervisor, replica: &Replica) {
    let mut check = ClockCheck::new(replica.connections.broker.client().clone());
    check.check().await;
    supervisor.spawn("clock", |cancel| check.run(cancel));
}

/// The limits of requests; some of them count on all replicas together.
pub fn start_limits(supervisor: &Supervisor, replica: &Replica, args: &ServerArgs) -> Arc<RateLimits> {
    let Connections { name, broker, .. } = &replica.connections;
    let (limits, notes) = RateLimits::new(args.api.rate_limits.clone().unwrap_or_default());
    let limits = Arc::new(limits);
    let (shared, name, client) = (Arc::clone(&limits), name.clone(), broker.client().clone());
    supervisor.spawn_fallible("limits", |cancel| exchange::run(shared, notes, name, client, cancel));
    limits
}

/// Starts the Socket.IO server.
pub fn start_sockets(supervisor: &Supervisor, replica: &Replica, app: &Arc<App>) -> Sockets {
    let Connections { name, broker, .. } = &replica.connections;
    let sockets = Sockets::new(app, name, Some(broker.client().clone()));
    let served = sockets.clone();
    supervisor.spawn_fallible("sockets", |cancel| served.run(cancel));
    sockets
}

/// Starts to store the counts of what is refused.
pub fn start_refusals(supervisor: &Supervisor, app: &App) {
    let (refusals, executor) = (Arc::clone(&app.refusals), Arc::clone(&app.executor));
    supervisor.spawn("refusals", |cancel| refusals.run(executor, cancel));
}

/// Starts to watch the memory, to count sessions and instances, to record the metrics for the charts, and to serve them on
/// their own address, if they have one.
///
/// # Errors
/// The address can't be used.
pub async fn start_metrics(
    supervisor: &Supervisor,
    replica: &Replica,
    app: &Arc<App>,
    args: &MetricsArgs,
    stages: &ShutdownStages,
) -> anyhow::Result<()> {
    supervisor.spawn("memory", memory_watch::run);
    let (store, metrics) = (replica.connections.store.clone(), Arc::clone(&replica.metrics));
    supervisor.spawn("totals", |cancel| totals::run(store, metrics, cancel));
    supervisor.spawn("charts", |cancel| chart_sampler::run(Arc::clone(app), cancel));
    let Some(address) = args.metrics_address else { return Ok(()) };
    let tcp = TcpListener::bind(address).await.with_context(|| port_owner::explain(address))?;
    tracing::info!("the metrics are at http://{}{}", tcp.local_addr()?, metrics::PATH);
    let (listener, service, stages) = (Listener { tcp, tls: None }, metrics::alone(app), stages.clone());
    supervisor.spawn_fallible("metrics", |cancel| async move {
        server::serve(listener, service, ConnectionLimits::default(), stages).await?;
        // It ends when the API's listener closes.
        cancel.cancelled().await;
        Ok::<_, rustls::Error>(())
    });
    Ok(())
}

/// Starts to campaign for the lease; while this replica holds it, it runs the leader's roles.
/// From `resign` on it lets another replica lead.
pub async fn start_election(
    supervisor: &Supervisor,
    replica: &Replica,
    args: &ServerArgs,
    kick: Kick,
    resign: CancellationToken,
    app: &Arc<App>,
) -> anyhow::Result<()> {
    let Connections { name, broker, agents, log, store, .. } = &replica.connections;
    let js = broker.jetstream();
    let fitness = Fitness::new(store.clone(), broker.client().clone(), log.incarnation().clone());
    let leader = Leader {
        projectors: Projectors {
            log: Arc::clone(log) as Arc<dyn EventLog>,
            store: store.clone(),
            progress: Arc::clone(&replica.progress),
            client: broker.client().clone(),
        },
        log: Arc::clone(log),
        jetstream: js.clone(),
        timers: js.get_stream(streams::TIMERS).await?,
        agents: agents.clone(),
        executor: Arc::clone(&replica.executor),
        follower: Arc::clone(&replica.follower),
        heartbeats: Arc::clone(&replica.heartbeats),
        gate: Arc::clone(&replica.gate),
        holders: Arc::clone(&replica.holders),
        assignments: replica.assignments.clone(),
        policy: args.deadlines.policy(),
        lost_after: args.deadlines.lost_after(),
        kick,
        metrics: Arc::clone(&replica.metrics),
        webhooks: WebhookPorts {
            source: Arc::new(WebhookMessages::new(Arc::clone(app))),
            sender: Arc::clone(&app.webhooks.sender),
            give_up_after: args.webhooks.give_up_after(),
        },
    };
    let election = Election::new(js.clone(), js.get_key_value(streams::LEADER_BUCKET).await?, name.clone());
    supervisor.spawn_fallible("fitness", |cancel| fitness.clone().answer(cancel));
    let end = |cancel| TermEnd { resign, cancel };
    supervisor.spawn("election", |cancel| election.run(fitness, end(cancel), move |over| leader.clone().term(over)));
    Ok(())
}
