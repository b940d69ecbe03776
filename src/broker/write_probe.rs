//! Writes to the broker while nothing else does, so that a broker that can't store is noticed within seconds also when
//! nobody sends commands.
//!
//! The probe has a stream of its own, with the storage and as many copies as EVENTS. An append to EVENTS that is
//! acknowledged makes the next probe unnecessary. After one that is not, or a probe that is not, the next probe is a barrier
//! in EVENTS itself: only that stream counts.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use bytes::Bytes;
use dockhost_domain::subject::BARRIER;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connect::{Broker, ensure_connected};
use super::streams::PROBE_SUBJECT;
use super::write_proof::WriteProof;
use crate::common::error::{Cause, chain};

/// How old the last proof is when the probe writes.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// The pause after a write that was not acknowledged.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long one write may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The broker counts as unable to store when the last acknowledged write began so long ago: two probes were late.
pub const MAX_PROOF_AGE: Duration = Duration::from_secs(6);

/// Writes until cancelled, whenever the last acknowledged write began [`PROBE_INTERVAL`] ago.
pub async fn run(broker: Broker, proof: Arc<WriteProof>, cancel: CancellationToken) {
    cancel.run_until_cancelled(probe(&broker, &proof)).await;
}

async fn probe(broker: &Broker, proof: &WriteProof) {
    let (mut stores, mut probe_failed) = (true, false);
    loop {
        sleep(PROBE_INTERVAL.saturating_sub(proof.age())).await;
        if proof.age() >= PROBE_INTERVAL {
            let (in_log, began) = (proof.is_doubted() || probe_failed, Instant::now());
            match write(broker, if in_log { BARRIER } else { PROBE_SUBJECT }).await {
                Ok(()) if in_log => {
                    probe_failed = false;
                    proof.record(began);
                }
                Ok(()) => proof.record_probe(began),
                Err(error) => {
                    probe_failed = true;
                    tracing::debug!(error = chain(&*error), "the broker did not acknowledge a probe");
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
        log_change(&mut stores, proof.age(), broker);
    }
}

/// Logs once that the broker does not store, and once that it does again.
fn log_change(stores: &mut bool, age: Duration, broker: &Broker) {
    let stores_now = age < MAX_PROOF_AGE;
    if std::mem::replace(stores, stores_now) == stores_now {
        return;
    }
    match (stores_now, broker.is_connected()) {
        (true, _) => tracing::info!("the broker stores again"),
        (false, true) => tracing::error!(
            seconds = age.as_secs(),
            "the broker acknowledges no writes, so commands fail; if its disk was full, make room and restart \
             nats-server, which does not store again by itself"
        ),
        (false, false) => tracing::error!(seconds = age.as_secs(), "the broker is away, so commands fail"),
    }
}

/// Stores one empty message; returns when the broker has acknowledged it.
async fn write(broker: &Broker, subject: &'static str) -> Result<(), Cause> {
    ensure_connected(broker.client())?;
    timeout(PROBE_TIMEOUT, publish(broker.jetstream(), subject)).await?
}

async fn publish(js: &Context, subject: &'static str) -> Result<(), Cause> {
    // Without a message id, so that the broker can't take it for a duplicate.
    js.publish(subject, Bytes::new()).await?.await?;
    Ok(())
}
