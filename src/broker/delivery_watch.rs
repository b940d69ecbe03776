//! Notices consumers of backends that don't deliver, and removes them: their agents say hello again, and the next ones are
//! created on other nodes of the broker.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::assignments::Assignments;
use super::consumer;
use super::deliveries::{Deliveries, Expected, Sight, Verdict};
use super::holders::Holders;
use super::streams::ASSIGNMENTS;
use crate::common::error::{Cause, chain};

/// How often consumers are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Consumers that are looked at in one round: what a large fleet costs the broker is bounded.
const MAX_LOOKS: usize = 64;
/// Consumers that are looked at side by side.
const MAX_CONCURRENT_LOOKS: usize = 16;
/// How long the node that has a consumer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches the deliveries that this replica knows of.
pub struct DeliveryWatch {
    /// The connection on which agents' consumers are created.
    pub jetstream: Context,
    /// The stream.
    pub assignments: Assignments,
    /// Creates the next consumers.
    pub holders: Arc<Holders>,
}

impl DeliveryWatch {
    /// Watches until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(sleep(CHECK_INTERVAL)).await.is_some() {
            let due = self.deliveries().due(Instant::now(), MAX_LOOKS);
            for some in due.chunks(MAX_CONCURRENT_LOOKS) {
                let looks = join_all(some.iter().map(|expected| self.check_or_log(*expected)));
                if cancel.run_until_cancelled(looks).await.is_none() {
                    return;
                }
            }
        }
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        self.assignments.deliveries()
    }

    async fn check_or_log(&self, expected: Expected) {
        if let Err(error) = self.check(&expected).await {
            // The next look asks again.
            tracing::debug!(backend = %expected.backend, error = chain(&*error), "a delivery could not be checked");
        }
    }

    async fn check(&self, expected: &Expected) -> Result<(), Cause> {
        let backend = expected.backend;
        let last = || timeout(ANSWER_TIMEOUT, self.assignments.last_sequence_of(backend));
        let sequence = match expected.sequence {
            Some(sequence) => sequence,
            None => {
                let last = last().await??;
                self.deliveries().resolved(expected, last);
                last
            }
        };
        let stream = self.jetstream.get_stream_no_info(ASSIGNMENTS).await?;
        let Some(info) = timeout(ANSWER_TIMEOUT, consumer::find(&stream, &backend.to_string())).await?? else {
            // The next hello creates a consumer.
            self.deliveries().forget(expected);
            return Ok(());
        };
        let sight = Sight { delivered: info.delivered.stream_sequence, has_reader: info.num_waiting > 0 };
        match expected.judge(sequence, sight, Instant::now()) {
            Verdict::Delivered => self.deliveries().delivered(expected, sight.delivered),
            Verdict::Wait => {}
            Verdict::Absent => self.deliveries().forget(expected),
            // What was expected may have been removed since, or the stream was made again.
            Verdict::Stuck if last().await?? <= sight.delivered => self.deliveries().forget(expected),
            Verdict::Stuck => {
                if let Some(node) = consumer::node_of(&info) {
                    self.holders.suspect(node);
                }
                timeout(ANSWER_TIMEOUT, consumer::delete(&stream, &backend.to_string())).await??;
                let seconds = expected.since.elapsed().as_secs();
                tracing::warn!(
                    %backend,
                    seconds,
                    "a backend's consumer does not deliver its assignments; removed it, so that the agent says hello again"
                );
                self.deliveries().forget(expected);
            }
        }
        Ok(())
    }
}
