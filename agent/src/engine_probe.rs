//! Checks at each interval whether the container engine answers, and sets that part of the machine's status.

use std::time::Duration;

use dockhost_domain::reported::ShortText;
use dockhost_domain::wire::EngineState;
use tokio_util::sync::CancellationToken;

use crate::machine_status::SharedStatus;
use crate::runtime::Runtime;

/// Interval between two checks.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Time for the engine's answer, long enough for a busy machine. An engine that hangs counts as down after it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// Checks until shutdown.
pub async fn run_probe(runtime: &impl Runtime, status: &SharedStatus, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_ready = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let state = tokio::select! {
            () = stop.cancelled() => return,
            state = probe(runtime) => state,
        };
        let is_ready = state == EngineState::Ready;
        if is_ready != was_ready {
            match &state {
                EngineState::Ready => tracing::info!("the container engine answers again"),
                EngineState::Down { reason } => {
                    tracing::error!(%reason, "instances can't be managed until the container engine answers");
                }
            }
            was_ready = is_ready;
        }
        status.set_engine(state);
    }
}

async fn probe(runtime: &impl Runtime) -> EngineState {
    match tokio::time::timeout(PROBE_TIMEOUT, runtime.probe()).await {
        Ok(Ok(())) => EngineState::Ready,
        Ok(Err(error)) => {
            tracing::debug!(error = error.with_causes(), "the container engine did not answer the probe");
            EngineState::Down { reason: error.for_users() }
        }
        Err(_) => EngineState::Down {
            reason: ShortText::cleaned(&format!(
                "the container engine has not answered for {} s",
                PROBE_TIMEOUT.as_secs()
            )),
        },
    }
}
