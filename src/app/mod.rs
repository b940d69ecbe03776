//! Starts one replica of the main server, runs it until it is told to stop, and shuts it down.

mod chart_sampler;
pub mod config;
mod first_admin;
mod memory_watch;
pub mod open_files;
pub mod secrets;
pub mod settings;
mod shutdown;
mod startup;
mod supervise;
mod tasks;
pub mod telemetry;
mod totals;

use std::sync::Arc;

use crate::app::config::{ServerArgs, ServiceUrls};
use crate::app::secrets::Secrets;
use crate::app::startup::{Connections, Replica};
use crate::app::supervise::Supervisor;
use crate::auth::admission::Enrolment;
use crate::auth::admission::SignUp;
use crate::auth::api_key::ApiKeys;
use crate::broker::access;
use crate::broker::kick::Kick;
use crate::broker::write_proof::WriteProof;
use crate::common::shutdown::ShutdownStages;
use crate::http::app::App;
use crate::http::router;
use crate::http::server::{Listener, Tls};
use crate::http::sockets::Sockets;

pub use shutdown::Shutdown;

/// Runs one replica until `shutdown.stop`; calls `ready` as soon as the replica serves the API, with when the broker last
/// stored.
///
/// # Errors
/// Something that start-up needs is missing or invalid, or a background task failed.
pub async fn run(
    args: ServerArgs,
    urls: ServiceUrls,
    secrets: Secrets,
    listener: Listener,
    shutdown: Shutdown,
    ready: impl FnOnce(Arc<WriteProof>),
) -> anyhow::Result<()> {
    let (sign_up, first_admin) = (args.accounts.sign_up(), args.accounts.first_admin()?);
    open_files::raise_limit(args.connections.max_connections);
    let stages = ShutdownStages::default();
    let supervisor = Supervisor::new(stages.ended.clone());
    // Start-up waits for the broker and the database, which may be away.
    let started = tokio::select! {
        started = start(&args, sign_up, &urls, secrets, (&supervisor, &stages), listener.tls.clone()) => Some(started?),
        () = shutdown.stop.cancelled() => None,
        () = supervisor.failure() => None,
    };
    match started {
        Some(Started { app, sockets, write_proof }) => {
            if let Some(first_admin) = first_admin {
                first_admin.ensure(&app.executor, &app.keyring).await?;
            }
            ready(write_proof);
            let limits = args.connection_limits();
            shutdown::serve(listener, router::service(&app, &sockets), limits, (&shutdown, &stages), &supervisor)
                .await?;
        }
        None => tracing::info!("stopped before the start was complete"),
    }
    Ok(shutdown::end_tasks(supervisor, &stages).await?)
}

/// What serves the API.
struct Started {
    app: Arc<App>,
    sockets: Sockets,
    write_proof: Arc<WriteProof>,
}

/// Starts one replica; returns when it knows the log.
async fn start(
    args: &ServerArgs,
    sign_up: SignUp,
    urls: &ServiceUrls,
    secrets: Secrets,
    (supervisor, stages): (&Supervisor, &ShutdownStages),
    tls: Option<Arc<Tls>>,
) -> anyhow::Result<Started> {
    let Secrets { user_tokens, backend_tokens, master_key, nats, callout, nats_system } = secrets;
    let connections = Connections::open(args, urls, &nats, master_key).await?;
    let (replica, snapshot_writer) =
        Replica::build(connections, args.deadlines.lost_after(), args.instances.overcommit()).await?;
    tasks::start_clock_check(supervisor, &replica).await;
    tasks::check_durability(supervisor, urls.nats_url.clone(), nats_system.clone());
    tasks::start_stream_watch(supervisor, &replica);
    tasks::start_store_room(supervisor, &replica, urls.nats_url.clone(), nats_system.clone());
    let kick = Kick { nats_url: urls.nats_url.clone(), system: nats_system };
    tasks::start_flood_guard(supervisor, &replica, kick.clone());
    // The services queue requests as soon as they are open, and answer once the replica knows the log.
    let services = tasks::open_services(&replica, &callout, ApiKeys::new(&backend_tokens), &args.instances).await?;
    let start = replica.bootstrap().await?;

    let is_tls = tls.is_some();
    if let Some(tls) = tls {
        supervisor.spawn("certificate", |cancel| tls.watch(cancel));
    }
    let signer = services.start(supervisor);
    access::check(&urls.nats_url, &signer).await?;
    tasks::start_replica(supervisor, &replica, snapshot_writer, start);
    tasks::start_log_monitor(supervisor, &replica).await?;
    let limits = tasks::start_limits(supervisor, &replica, args);
    let app = startup::http_app(
        (args, urls),
        sign_up,
        limits,
        &replica,
        &user_tokens,
        &backend_tokens,
        (stages.clone(), is_tls),
    )?;
    tasks::start_election(supervisor, &replica, args, kick, stages.announced.clone(), &app).await?;
    tasks::start_refusals(supervisor, &app);
    tasks::start_metrics(supervisor, &replica, &app, &args.metrics, stages).await?;
    replica.follower.wait_until_caught_up().await;
    log_configuration(args, urls, &replica);
    let sockets = tasks::start_sockets(supervisor, &replica, &app);
    Ok(Started { app, sockets, write_proof: Arc::clone(replica.connections.log.write_proof()) })
}

/// Logs what is running and with which configuration; no secrets.
fn log_configuration(args: &ServerArgs, urls: &ServiceUrls, replica: &Replica) {
    let ServerArgs { api, connections: _, accounts, storage, instances, deadlines, webhooks, metrics: _, in_force: _ } =
        args;
    tracing::info!(
        version = dockhost_environment::VERSION,
        replica = replica.connections.name,
        broker = urls.broker_hosts(),
        database_hosts = urls.database_hosts(),
        database = storage.database.name(urls),
        frontend = if api.frontend_url.is_empty() { "none".to_owned() } else { api.frontend_url.join(",") },
        trusted_proxies = ?api.trusted_proxies,
        socketio_backends = api.socketio_backends,
        "started"
    );
    tracing::info!(
        position = replica.follower.position(),
        max_bytes = storage.streams.log_max_bytes,
        copies = replica.connections.copies,
        "event log"
    );
    tracing::info!(
        sign_up = ?accounts.signup,
        enrolment = ?accounts.enrolment(),
        enrolment_secret = accounts.enrolment_secret.is_some(),
        cookies = ?accounts.cookies,
        "accounts"
    );
    if accounts.enrolment() == Enrolment::Open && accounts.enrolment_secret.is_none() {
        tracing::warn!(
            "anyone who reaches the API can register a backend, which is given instances at once; set \
             DOCKHOST_ENROLMENT=approval or DOCKHOST_ENROLMENT_SECRET"
        );
    }
    tracing::info!(
        max_per_user = instances.quota().map_or("unlimited".to_owned(), |max| max.to_string()),
        image = instances.instance_image.as_deref().unwrap_or("the agent's"),
        memory_mib = instances.instance_memory_mib,
        cpu_millis = instances.instance_cpu_millis,
        pids = instances.instance_pids,
        cpu_overcommit = %instances.cpu_overcommit,
        memory_overcommit = %instances.memory_overcommit,
        "instances"
    );
    tracing::info!(
        create_ms = deadlines.create_within_ms,
        stop_ms = deadlines.stop_within_ms,
        resume_ms = deadlines.resume_within_ms,
        delete_ms = deadlines.delete_within_ms,
        lost_after_ms = deadlines.lost_after_ms,
        "deadlines"
    );
    tracing::info!(
        networks = ?webhooks.webhook_networks,
        give_up_days = webhooks.webhook_give_up_days,
        "webhooks"
    );
}
