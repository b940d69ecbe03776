//! Fitness: a leader that can't reach the database gives way to a replica that can.
//!
//! In: signs of life of the database, to each replica its own. Out: the end of a term, when the leader has none and
//! another replica says that it has. Without this the read models would stand still for as long as the one replica is
//! cut off from them that holds the lease. If nobody reaches the database nobody gives way: the other roles need none.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use dockhost_projections::store::MongoStore;
use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Where the leader asks whether anybody is fitter.
const SUBJECT: &str = "dockhost.fit";
/// How often the leader checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A database that is well answers within this.
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Looks in vain before others are asked.
const FAILURES_BEFORE_ASKING: u32 = 2;

/// Whether this replica reaches the database, and whether another does.
#[derive(Clone)]
pub struct Fitness {
    store: MongoStore,
    client: Client,
}

impl Fitness {
    /// Of the replica with this connection to the database.
    pub const fn new(store: MongoStore, client: Client) -> Self {
        Self { store, client }
    }

    async fn reaches_database(&self) -> bool {
        // What is dropped in time is only the waiting; the operation ends by itself.
        matches!(timeout(PING_TIMEOUT, self.store.ping()).await, Ok(Ok(())))
    }

    /// Answers a leader that asks, if this replica is fit; says nothing otherwise.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn answer(self, cancel: CancellationToken) -> Result<(), async_nats::SubscribeError> {
        let mut questions = self.client.subscribe(SUBJECT).await?;
        while let Some(Some(question)) = cancel.run_until_cancelled(questions.next()).await {
            if let Some(reply) = question.reply
                && self.reaches_database().await
            {
                // A lost answer: the leader asks again.
                let _ = self.client.publish(reply, Bytes::new()).await;
            }
        }
        Ok(())
    }

    /// Returns when this replica, which leads, is not fit and another is.
    pub async fn should_yield(&self) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        loop {
            checks.tick().await;
            failures = if self.reaches_database().await { 0 } else { failures + 1 };
            if failures >= FAILURES_BEFORE_ASKING && self.another_reaches_database().await {
                tracing::warn!("the database can't be reached from here, but from another replica: giving way to it");
                return;
            }
        }
    }

    async fn another_reaches_database(&self) -> bool {
        let asked = self.client.request(SUBJECT, Bytes::new());
        matches!(timeout(PING_TIMEOUT * 2, asked).await, Ok(Ok(_)))
    }
}
