//! Starts one replica of the main server, runs it until it is told to stop, and shuts it down.

pub mod config;
mod shutdown;
mod startup;
mod supervise;
mod tasks;
pub mod telemetry;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::config::{Secrets, ServerArgs, ServiceUrls};
use crate::app::startup::{Connections, Replica};
use crate::app::supervise::Supervisor;
use crate::auth::api_key::ApiKeys;

/// Runs one replica until `cancel`; calls `ready` as soon as the replica serves the API.
///
/// # Errors
/// Something that start-up needs is missing or invalid, or the API can't be served.
pub async fn run(
    args: ServerArgs,
    urls: ServiceUrls,
    secrets: Secrets,
    listener: TcpListener,
    cancel: CancellationToken,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let Secrets { user_tokens, backend_tokens, master_key, nats, callout, nats_system } = secrets;
    let supervisor = Supervisor::new(cancel.clone());

    let connections = Connections::open(&args, &urls, &nats, master_key).await?;
    let (replica, snapshot_writer) = Replica::build(connections).await?;
    tasks::check_durability(&supervisor, urls.nats_url, nats_system);
    // The services queue requests as soon as they are open, and answer once the replica knows the log.
    let services = tasks::open_services(&replica, &callout, ApiKeys::new(&backend_tokens)).await?;
    let start = replica.bootstrap().await?;

    services.start(&supervisor);
    tasks::start_replica(&supervisor, &replica, snapshot_writer, start);
    tasks::start_election(&supervisor, &replica, &args).await?;

    let app = startup::http_app(&args, &replica, &user_tokens, &backend_tokens)?;
    replica.follower.wait_until_caught_up().await;
    tracing::info!(address = %listener.local_addr()?, "serving");
    ready();
    shutdown::serve_until_cancelled(listener, &app, cancel.clone()).await?;
    cancel.cancel();
    supervisor.wait(shutdown::TIMEOUT).await;
    Ok(())
}
