//! Start-up: connects to the broker and the database, and builds what the tasks and the HTTP handlers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream;
use dockhost_domain::room::Overcommit;
use dockhost_gateway::socket::Broker as SocketIoBroker;
use dockhost_projections::store::MongoStore;
use futures::TryFutureExt;
use secrecy::SecretString;

use super::config::{ServerArgs, ServiceUrls};
use crate::auth::admission::SignUp;
use crate::auth::api_key::ApiKeys;
use crate::auth::password::Passwords;
use crate::auth::shares::Shares;
use crate::auth::token::{Audience, TokenSecret, Tokens, UserTokens};
use crate::broker::agent_gate::AgentGate;
use crate::broker::assignments::Assignments;
use crate::broker::connect::Broker;
use crate::broker::consumer::durable;
use crate::broker::holders::Holders;
use crate::broker::store_room::StoreRoom;
use crate::broker::streams::incarnation::StreamIncarnation;
use crate::broker::{requirements, streams};
use crate::common::clock;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use crate::common::shutdown::ShutdownStages;
use crate::event_log::EventLog;
use crate::event_log::jetstream::{JetStreamLog, LogOptions};
use crate::event_log::measured::MeasuredLog;
use crate::execute::snapshots::SnapshotWriter;
use crate::execute::{Executor, SnapshotManager, SnapshotOptions};
use crate::http::app;
use crate::http::dependencies::DependencyCheck;
use crate::http::events::EventStreams;
use crate::http::limits::RateLimits;
use crate::http::past::LogReader;
use crate::http::webhooks::WebhookAccess;
use crate::leader::dispatcher;
use crate::metrics::Metrics;
use crate::replica::bootstrap;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::log_monitor::LogMonitor;
use crate::replica::projection_progress::ProjectionProgress;
use crate::replica::role_watch::RoleWatch;
use crate::replica::stream_watch::StreamWatch;
use crate::sealing::MasterKey;
use crate::webhooks::sender::Sender;

/// How long the start waits for the log and the assignments: longer than the stream watch takes to make a stream without
/// a leader again.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(90);

/// The broker, the log and the database, opened.
pub struct Connections {
    /// The replica's name at the broker and in the election.
    pub name: String,
    pub broker: Broker,
    /// The connection on which everything that agents send arrives.
    pub agents: Broker,
    pub log: Arc<JetStreamLog>,
    pub store: MongoStore,
    pub assignments: StreamIncarnation,
    /// Copies of the event log on the broker's nodes.
    pub copies: usize,
}

/// What the tasks and the HTTP handlers of one replica share.
pub struct Replica {
    pub connections: Connections,
    pub executor: Arc<Executor>,
    pub follower: Arc<Follower>,
    pub heartbeats: Arc<HeartbeatRegistry>,
    pub gate: Arc<AgentGate>,
    pub holders: Arc<Holders>,
    pub progress: Arc<ProjectionProgress>,
    pub log_monitor: Arc<LogMonitor>,
    pub stream_watch: Arc<StreamWatch>,
    pub role_watch: Arc<RoleWatch>,
    pub store_room: Arc<StoreRoom>,
    pub assignments: Assignments,
    pub metrics: Arc<Metrics>,
}

/// Where the follower starts.
pub struct FollowerStart {
    /// The follower reads the log after this sequence.
    pub after: u64,
    /// The last event of each aggregate kind.
    pub latest: BTreeMap<&'static str, u64>,
}

impl Connections {
    /// Connects to the broker and the database, and opens the log with the master key.
    pub async fn open(
        args: &ServerArgs,
        urls: &ServiceUrls,
        nats: &SecretString,
        master_key: MasterKey,
    ) -> anyhow::Result<Self> {
        let name = format!("dockhost-{}", clock::fresh_uuid());
        let broker = Broker::connect(&urls.nats_url, nats, &name, STARTUP_DEADLINE).await?;
        let agents = broker.connect_for_agents(&urls.nats_url, nats, &name, STARTUP_DEADLINE).await?;
        requirements::check(&broker, args.storage.allow_old_broker).await?;
        let options = LogOptions { streams: args.storage.streams.options(), ..LogOptions::default() };
        let log = Arc::new(JetStreamLog::open(broker.client().clone(), master_key, options).await?);
        let store = MongoStore::connect(&urls.mongodb_uri, &args.storage.database.name(urls)).await?;
        let deadline = tokio::time::Instant::now() + STARTUP_DEADLINE;
        let js = broker.jetstream().clone();
        let (assignments, copies) =
            until_deadline("the broker's streams", deadline, is_transient, || read_streams(&js)).await?;
        Ok(Self { name, broker, agents, log, store, assignments, copies })
    }
}

impl Replica {
    /// Builds the executor with its caches, the follower and the registries; starts nothing.
    /// A backend that is silent for `lost_after` counts as lost.
    pub async fn build(
        connections: Connections,
        lost_after: Duration,
        overcommit: Overcommit,
    ) -> anyhow::Result<(Self, SnapshotWriter)> {
        let Connections { broker, log, store, .. } = &connections;
        let (keyring, incarnation) = (Arc::clone(log.keyring()), log.incarnation().clone());
        let (snapshots, snapshot_writer) =
            SnapshotManager::new(Arc::new(store.clone()), keyring, incarnation, SnapshotOptions::default());
        let metrics = Arc::<Metrics>::default();
        let measured = MeasuredLog::new(Arc::clone(log) as Arc<dyn EventLog>, Arc::clone(&metrics));
        let executor = Executor::with_snapshots(Arc::new(measured), snapshots);
        let heartbeats = Arc::new(HeartbeatRegistry::new(lost_after));
        let replica = Self {
            follower: Follower::with(Arc::clone(&executor), Arc::clone(&heartbeats), overcommit, Arc::clone(&metrics)),
            log_monitor: Arc::new(LogMonitor::new(Arc::clone(executor.capacity()))),
            stream_watch: Arc::default(),
            store_room: Arc::default(),
            role_watch: Arc::default(),
            executor,
            heartbeats,
            gate: Arc::default(),
            holders: Arc::new(Holders::new(connections.agents.jetstream().clone())),
            progress: Arc::new(ProjectionProgress::new(store.clone())),
            assignments: Assignments::open(broker.jetstream()).await?,
            metrics,
            connections,
        };
        Ok((replica, snapshot_writer))
    }

    /// Loads what happened before the follower starts.
    pub async fn bootstrap(&self) -> anyhow::Result<FollowerStart> {
        let Connections { broker, log, assignments, .. } = &self.connections;
        let port = Arc::clone(log) as Arc<dyn EventLog>;
        let load = || async {
            let consumer = dispatcher::consumer_name(*assignments);
            let dispatched = durable::ack_floor(broker.jetstream(), streams::EVENTS, &consumer).await?;
            bootstrap::run(&self.follower, &port, &self.assignments, dispatched).await
        };
        let retried = || load().map_err(anyhow::Error::from_boxed);
        let deadline = tokio::time::Instant::now() + BOOTSTRAP_DEADLINE;
        let (after, latest) = until_deadline("the log and the assignments", deadline, is_transient, retried).await?;
        Ok(FollowerStart { after, latest })
    }
}

/// What the HTTP handlers work with.
pub fn http_app(
    (args, urls): (&ServerArgs, &ServiceUrls),
    sign_up: SignUp,
    limits: Arc<RateLimits>,
    replica: &Replica,
    user_tokens: &TokenSecret,
    backend_tokens: &TokenSecret,
    (stages, is_tls): (ShutdownStages, bool),
) -> anyhow::Result<Arc<app::App>> {
    let Connections { broker, log, store, .. } = &replica.connections;
    let (broker, write_proof) = (broker.clone(), Arc::clone(log.write_proof()));
    let (cookies, cross_site) = args.cookies(is_tls);
    let log_silence = {
        let (log, executor) = (Arc::clone(log), Arc::clone(&replica.executor));
        // On a cluster a node that is cut off from the others goes on to send heartbeats, but acknowledges no write.
        move || if log.has_several_copies() { log.write_proof().age() } else { executor.applied().silence() }
    };
    Ok(Arc::new(app::App {
        executor: Arc::clone(&replica.executor),
        follower: Arc::clone(&replica.follower),
        heartbeats: Arc::clone(&replica.heartbeats),
        gate: Arc::clone(&replica.gate),
        progress: Arc::clone(&replica.progress),
        log_monitor: Arc::clone(&replica.log_monitor),
        log_reader: LogReader::default(),
        webhooks: WebhookAccess::new(
            Arc::new(Sender::new(args.webhooks.webhook_networks.clone())?),
            Arc::new(store.clone()),
        ),
        streams: EventStreams::new(args.connections.event_streams()),
        refusals: Arc::default(),
        write_age: Box::new(move || write_proof.age()),
        log_silence: Box::new(log_silence),
        stream_watch: Arc::clone(&replica.stream_watch),
        store_room: Arc::clone(&replica.store_room),
        role_watch: Arc::clone(&replica.role_watch),
        metrics: Arc::clone(&replica.metrics),
        dependencies: DependencyCheck::default(),
        store: Arc::new(store.clone()),
        keyring: Arc::clone(log.keyring()),
        is_broker_connected: Box::new(move || broker.is_connected()),
        user_tokens: UserTokens::new(user_tokens),
        backend_tokens: Tokens::new(Audience::Backend, backend_tokens),
        api_keys: ApiKeys::new(backend_tokens),
        passwords: Passwords::new()?,
        password_shares: Shares::new(app::PASSWORD_SHARE),
        limits,
        settings: app::Settings {
            sign_up,
            enrolment_secret: args.accounts.enrolment_secret.clone(),
            enrolment: args.accounts.enrolment(),
            quota: args.instances.quota(),
            offer: args.instances.offer(),
            image: args.instances.instance_image.clone(),
            policy: args.deadlines.policy(),
            session_lifetime: args.accounts.session_lifetime(),
            cookies,
            cross_site,
            reads_without_broker: Duration::from_millis(args.api.reads_without_broker_ms),
            frontends: args.api.frontend_url.clone(),
            trusted_proxies: args.api.trusted_proxies.clone(),
            api_docs: args.api.api_docs,
            metrics_token: args.metrics.metrics_token.clone(),
            in_force: args.in_force.clone(),
            socketio_backends: args.api.socketio_backends.then(|| SocketIoBroker::parse(&urls.nats_url)).transpose()?,
        },
        stages,
        started: Instant::now(),
    }))
}

/// At start-up any error may pass: the broker's nodes may still be electing a leader.
fn is_transient(error: &anyhow::Error) -> Option<String> {
    Some(format!("{error:#}"))
}

/// The stream ASSIGNMENTS, and how many copies the event log has.
async fn read_streams(js: &jetstream::Context) -> anyhow::Result<(StreamIncarnation, usize)> {
    let assignments = StreamIncarnation::read(js, streams::ASSIGNMENTS).await?;
    let events = js.get_stream(streams::EVENTS).await.context("reading stream EVENTS")?;
    Ok((assignments, events.cached_info().config.num_replicas))
}
