//! Fitness to lead: a leader that can't reach the database yields to a replica that can.
//!
//! Otherwise the read models would not advance while the leader alone is cut off from the database. The leader asks the
//! other replicas first: if none reaches the database it keeps the lease, because the other roles don't need one. A
//! rule without a question (don't renew while the own ping fails) would interrupt those roles in every outage.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use dockhost_projections::store::MongoStore;
use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// The subject on which a leader asks whether another replica reaches the database.
const SUBJECT: &str = "dockhost.fit";
/// How often the leader pings the database.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The database counts as unreachable if a ping takes longer.
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Failed pings in a row before the leader asks the others.
const FAILURES_BEFORE_ASKING: u32 = 2;

/// Checks whether this replica and others reach the database.
#[derive(Clone)]
pub struct Fitness {
    store: MongoStore,
    client: Client,
}

impl Fitness {
    /// For a replica with these connections.
    pub const fn new(store: MongoStore, client: Client) -> Self {
        Self { store, client }
    }

    async fn reaches_database(&self) -> bool {
        // The timeout drops only the waiting; the operation runs to its end.
        matches!(timeout(PING_TIMEOUT, self.store.ping()).await, Ok(Ok(())))
    }

    /// Answers a leader's question if this replica reaches the database, and is silent otherwise.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn answer(self, cancel: CancellationToken) -> Result<(), async_nats::SubscribeError> {
        let mut requests = self.client.subscribe(SUBJECT).await?;
        while let Some(Some(request)) = cancel.run_until_cancelled(requests.next()).await {
            if let Some(reply) = request.reply
                && self.reaches_database().await
            {
                // If the answer is lost, the leader asks again.
                let _ = self.client.publish(reply, Bytes::new()).await;
            }
        }
        Ok(())
    }

    /// Returns when this replica, the leader, can't reach the database and another can.
    pub async fn until_should_yield(&self) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        loop {
            checks.tick().await;
            failures = if self.reaches_database().await { 0 } else { failures + 1 };
            if failures >= FAILURES_BEFORE_ASKING && self.another_reaches_database().await {
                tracing::warn!("this replica can't reach the database but another can: yielding the lease");
                return;
            }
        }
    }

    async fn another_reaches_database(&self) -> bool {
        let answer = self.client.request(SUBJECT, Bytes::new());
        matches!(timeout(PING_TIMEOUT * 2, answer).await, Ok(Ok(_)))
    }
}
