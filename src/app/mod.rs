//! One replica of the main server, put together and run until told to stop.
//!
//! In: settings, connections, secrets, a listener. Out: the API on the listener, the broker's door, and a part in the
//! election. Start-up is a list of named steps; whatever is missing or wrong stops it with one clear message.

pub mod config;
pub mod telemetry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream;
use dockhost_projections::store::MongoStore;
use futures::TryFutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::config::{Secrets, ServerArgs, ServiceUrls};
use crate::auth::api_key::ApiKeys;
use crate::auth::backend_authenticator::LogBackendAuthenticator;
use crate::auth::password::Passwords;
use crate::auth::token::{Audience, Tokens};
use crate::broker::assignments::Assignments;
use crate::broker::callout::Callout;
use crate::broker::confirm::ConfirmHandler;
use crate::broker::connect::Broker;
use crate::broker::consumer::durable;
use crate::broker::durability;
use crate::broker::hello::HelloHandler;
use crate::broker::jwt::Signer;
use crate::broker::service::Service;
use crate::broker::streams;
use crate::common::clock;
use crate::common::retry::{STARTUP_DEADLINE, until_deadline};
use crate::event_log::EventLog;
use crate::event_log::jetstream::{JetStreamLog, LogOptions};
use crate::execute::{Executor, SnapshotManager, SnapshotOptions};
use crate::http::{app, router};
use crate::leader::election::Election;
use crate::leader::fitness::Fitness;
use crate::leader::projector::Projectors;
use crate::leader::{Leader, StreamCreatedAt, dispatcher};
use crate::replica::bootstrap;
use crate::replica::follower::Follower;
use crate::replica::heartbeat_registry::HeartbeatRegistry;
use crate::replica::projection_progress::ProjectionProgress;

/// Requests in flight may take this long to end once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one replica until `cancel`; `ready` is called once it serves.
///
/// # Errors
/// What is missing or wrong at start-up; or that serving failed.
pub async fn run(
    settings: ServerArgs,
    urls: ServiceUrls,
    secrets: Secrets,
    listener: TcpListener,
    cancel: CancellationToken,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let Secrets { user_tokens, backend_tokens, master_key, nats, callout, nats_system } = secrets;
    let name = format!("dockhost-{}", clock::fresh_uuid());
    let broker = Broker::connect(&urls.nats_url, &nats, &name, STARTUP_DEADLINE).await?;
    let options = LogOptions { streams: settings.streams(), ..LogOptions::default() };
    let log = Arc::new(JetStreamLog::open(broker.client().clone(), master_key, options).await?);
    let store = MongoStore::connect(&urls.mongodb_uri, &settings.database).await?;
    let js = broker.jetstream().clone();
    let deadline = tokio::time::Instant::now() + STARTUP_DEADLINE;
    let passing = |error: &anyhow::Error| Some(format!("{error:#}"));
    let streams_created_at =
        until_deadline("the broker's streams", deadline, passing, || stream_created_at(&js)).await?;

    let port: Arc<dyn EventLog> = Arc::clone(&log) as Arc<dyn EventLog>;
    let (keyring, incarnation) = (Arc::clone(log.keyring()), log.incarnation().clone());
    let (snapshot_manager, snapshots) =
        SnapshotManager::new(Arc::new(store.clone()), keyring, incarnation, SnapshotOptions::default());
    let executor = Executor::with_snapshots(Arc::clone(&port), snapshot_manager);
    let follower = Follower::new(Arc::clone(&executor));
    let heartbeats = Arc::new(HeartbeatRegistry::default());
    let progress = Arc::new(ProjectionProgress::new(store.clone()));
    let assignments = Assignments::new(js.clone(), js.get_stream(streams::ASSIGNMENTS).await?);
    let authenticator = Arc::new(LogBackendAuthenticator::new(Arc::clone(&executor), ApiKeys::new(&backend_tokens)));

    let tasks = TaskTracker::new();
    let url = urls.nats_url.clone();
    tasks.spawn(async move { durability::check(&url, nats_system.as_ref()).await });
    let callout_service =
        Callout::open(broker.clone(), Signer::from_seed(&callout)?, Arc::clone(&authenticator) as _).await?;
    let hello =
        Service::open(broker.clone(), HelloHandler { broker: broker.clone(), enrolments: authenticator }).await?;
    let confirming = Service::open(broker.clone(), ConfirmHandler(assignments.clone())).await?;
    let learn = || async {
        let dispatched =
            durable::ack_floor(&js, streams::EVENTS, &dispatcher::consumer_name(streams_created_at.assignments))
                .await?;
        bootstrap::run(&follower, &port, &assignments, dispatched).await
    };
    let learnt = until_deadline("the machines", deadline, passing, || learn().map_err(anyhow::Error::from_boxed));
    let (after, latest) = learnt.await?;
    tasks.spawn(snapshots.run(cancel.clone()));
    tasks.spawn(callout_service.run(cancel.clone()));
    tasks.spawn(hello.run(cancel.clone()));
    tasks.spawn(confirming.run(cancel.clone()));
    tasks.spawn(Arc::clone(&follower).run(after, latest, cancel.clone()));
    listen(&tasks, "heartbeats", Arc::clone(&heartbeats).run(broker.client().clone(), cancel.clone()));
    let word = Arc::clone(&progress);
    let (client, until) = (broker.client().clone(), cancel.clone());
    listen(&tasks, "projection progress", async move { word.listen(client, until).await });

    let fitness = Fitness::new(store.clone(), broker.client().clone());
    listen(&tasks, "fitness", fitness.clone().answer(cancel.clone()));
    let leader = Leader {
        projectors: Projectors {
            log: port,
            store: store.clone(),
            progress: Arc::clone(&progress),
            client: broker.client().clone(),
        },
        log: Arc::clone(&log),
        jetstream: js.clone(),
        timers: js.get_stream(streams::TIMERS).await?,
        broker: broker.clone(),
        streams_created_at,
        executor: Arc::clone(&executor),
        follower: Arc::clone(&follower),
        heartbeats: Arc::clone(&heartbeats),
        assignments,
        policy: settings.policy(),
        lost_after: Duration::from_millis(settings.lost_after_ms),
    };
    let election = Election::new(js.get_key_value(streams::LEADER_BUCKET).await?, name);
    tasks.spawn(election.run(fitness, cancel.clone(), move |over| leader.clone().term(over)));

    let app = Arc::new(app::App {
        executor,
        follower: Arc::clone(&follower),
        heartbeats,
        progress,
        store,
        keyring: Arc::clone(log.keyring()),
        broker,
        user_tokens: Tokens::new(Audience::User, &user_tokens),
        backend_tokens: Tokens::new(Audience::Backend, &backend_tokens),
        api_keys: ApiKeys::new(&backend_tokens),
        passwords: Passwords::new()?,
        settings: app::Settings {
            quota: settings.max_instances_per_user,
            limits: settings.limits(),
            image: settings.instance_image.clone(),
            policy: settings.policy(),
            secure_cookies: settings.frontend().is_some_and(|origin| origin.starts_with("https://")),
            frontend: settings.frontend(),
        },
        started: Instant::now(),
    });
    follower.wait_until_caught_up().await;
    tracing::info!(address = %listener.local_addr()?, "serving");
    ready();
    serve(listener, &app, cancel.clone()).await?;
    cancel.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    Ok(())
}

/// Serves until cancelled, then lets requests in flight end, within a bound.
async fn serve(listener: TcpListener, app: &Arc<app::App>, cancel: CancellationToken) -> anyhow::Result<()> {
    let service = router::service(app);
    let server = axum::serve(listener, service).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let bound = async {
        cancel.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        served = server.into_future() => served.context("serving HTTP"),
        () = bound => {
            tracing::warn!("requests in flight did not end in time");
            Ok(())
        }
    }
}

/// Runs a listener of the broker; the client keeps its subscription over reconnects.
fn listen<E>(tasks: &TaskTracker, what: &'static str, listening: impl Future<Output = Result<(), E>> + Send + 'static)
where
    E: std::fmt::Display + Send + 'static,
{
    tasks.spawn(async move {
        if let Err(error) = listening.await {
            tracing::error!(what, %error, "a subscription could not be made");
        }
    });
}

/// When the streams were made.
async fn stream_created_at(js: &jetstream::Context) -> anyhow::Result<StreamCreatedAt> {
    let born = |name: &'static str| async move {
        let stream = js.get_stream(name).await.with_context(|| format!("reading stream {name}"))?;
        let millis = stream.cached_info().created.unix_timestamp_nanos() / 1_000_000;
        u64::try_from(millis).with_context(|| format!("stream {name} was made before 1970"))
    };
    Ok(StreamCreatedAt {
        assignments: born(streams::ASSIGNMENTS).await?,
        reports: born(streams::REPORTS).await?,
        timers: born(streams::TIMERS).await?,
    })
}
