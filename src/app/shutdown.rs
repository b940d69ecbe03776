//! Serves the API until it is cancelled, then drains the requests in flight.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{app, router};

/// Requests in flight, and then the background tasks, may take this long to end.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `cancel`, then waits for the requests in flight, at most for [`TIMEOUT`].
pub async fn serve_until_cancelled(
    listener: TcpListener,
    app: &Arc<app::App>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let server = axum::serve(listener, router::service(app)).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let drain_deadline = async {
        cancel.cancelled().await;
        tokio::time::sleep(TIMEOUT).await;
    };
    tokio::select! {
        served = server.into_future() => served.context("serving HTTP"),
        () = drain_deadline => {
            tracing::warn!(seconds = TIMEOUT.as_secs(), "some requests in flight did not end in time");
            Ok(())
        }
    }
}
