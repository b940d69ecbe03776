//! Repeats what keeps this machine in order and concerns no single instance: the isolation rules, which other programs
//! remove, and what deleted instances have left behind.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::machine_status::SharedStatus;
use crate::runtime::Runtime;

/// Interval at which the isolation rules are compared. An instance is open for at most so long.
const ISOLATION_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which leftovers are looked for.
const LEFTOVERS_INTERVAL: Duration = Duration::from_secs(600);

/// Compares the isolation rules until shutdown, and tells their state.
pub async fn keep_isolation(runtime: &impl Runtime, status: &SharedStatus, stop: &CancellationToken) {
    let keep = async {
        loop {
            let Some(state) = runtime.enforce_isolation().await else { return };
            status.set_isolation(state);
            tokio::time::sleep(ISOLATION_INTERVAL).await;
        }
    };
    tokio::select! {
        () = keep => {}
        () = stop.cancelled() => {}
    }
}

/// Removes leftovers until shutdown.
pub async fn keep_removing_leftovers(runtime: &impl Runtime, stop: &CancellationToken) {
    let keep = async {
        loop {
            if let Err(error) = runtime.remove_leftovers().await {
                tracing::warn!(
                    error = error.with_causes(),
                    "could not look for what deleted instances have left behind"
                );
            }
            tokio::time::sleep(LEFTOVERS_INTERVAL).await;
        }
    };
    tokio::select! {
        () = keep => {}
        () = stop.cancelled() => {}
    }
}
