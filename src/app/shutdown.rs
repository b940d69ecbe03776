//! Shuts a replica down so that no request is lost. SIGTERM begins the stages of [`ShutdownStages`]:
//!
//! 1. `/health` answers 503, and the leader lets another replica lead, while everything is still served. After
//!    [`Shutdown::delay`], load balancers send this replica no new requests.
//! 2. The listener closes. Commands that wait for their outcome are answered 202; requests in flight end.
//! 3. The background tasks end, among them the follower and the leader's roles that the requests needed.
//!
//! A task that failed begins the second stage at once.

use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::supervise::{Supervisor, TaskFailed};
use crate::common::shutdown::ShutdownStages;
use crate::http::server::{self, ConnectionLimits, Listener};

/// Requests in flight, and then the background tasks, may take this long to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// When and how a replica shuts down.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Cancelled by SIGTERM and Ctrl-C.
    pub stop: CancellationToken,
    /// How long `/health` answers 503 before the listener closes; longer than load balancers take to notice.
    pub delay: Duration,
}

/// Serves until `shutdown.stop` or until a task fails; returns when the requests in flight have ended, at the latest
/// after [`TIMEOUT`].
///
/// # Errors
/// TLS can't be configured.
pub async fn serve(
    listener: Listener,
    service: Router,
    limits: ConnectionLimits,
    (shutdown, stages): (&Shutdown, &ShutdownStages),
    supervisor: &Supervisor,
) -> Result<(), rustls::Error> {
    let drain_deadline = async {
        tokio::select! {
            () = announce(shutdown, stages) => {}
            _ = supervisor.failure() => {}
        }
        stages.announced.cancel();
        stages.draining.cancel();
        tokio::time::sleep(TIMEOUT).await;
    };
    tokio::select! {
        served = server::serve(listener, service, limits, stages.clone()) => served,
        () = drain_deadline => {
            tracing::warn!(seconds = TIMEOUT.as_secs(), "some requests in flight did not end in time");
            Ok(())
        }
    }
}

/// The first stage.
async fn announce(shutdown: &Shutdown, stages: &ShutdownStages) {
    shutdown.stop.cancelled().await;
    stages.announced.cancel();
    tracing::info!(delay_ms = shutdown.delay.as_millis(), "stopping: /health answers 503, requests are still served");
    tokio::time::sleep(shutdown.delay).await;
}

/// Ends the background tasks.
///
/// # Errors
/// [`TaskFailed`] if a task failed.
pub async fn end_tasks(supervisor: Supervisor, stages: &ShutdownStages) -> Result<(), TaskFailed> {
    stages.end();
    supervisor.wait(TIMEOUT).await
}
