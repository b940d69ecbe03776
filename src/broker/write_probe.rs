//! Writes to the broker while nothing else does, so that a broker that can't store is noticed within seconds also when
//! nobody sends commands.
//!
//! The probe has a stream of its own, with the storage and as many copies as EVENTS. An append to EVENTS that is
//! acknowledged makes the next probe unnecessary.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use bytes::Bytes;
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

/// Writes until cancelled, whenever the last acknowledged write began [`PROBE_INTERVAL`] ago.
pub async fn run(broker: Broker, proof: Arc<WriteProof>, cancel: CancellationToken) {
    let probe = async {
        loop {
            sleep(PROBE_INTERVAL.saturating_sub(proof.age())).await;
            if proof.age() < PROBE_INTERVAL {
                continue;
            }
            let began = Instant::now();
            match write(&broker).await {
                Ok(()) => proof.record(began),
                Err(error) => {
                    tracing::debug!(error = chain(&*error), "the broker did not acknowledge a probe");
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    };
    cancel.run_until_cancelled(probe).await;
}

/// Stores one empty message; returns when the broker has acknowledged it.
async fn write(broker: &Broker) -> Result<(), Cause> {
    ensure_connected(broker.client())?;
    timeout(PROBE_TIMEOUT, publish(broker.jetstream())).await?
}

async fn publish(js: &Context) -> Result<(), Cause> {
    // Without a message id, so that the broker can't take it for a duplicate.
    js.publish(PROBE_SUBJECT, Bytes::new()).await?.await?;
    Ok(())
}
