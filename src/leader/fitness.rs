//! Fitness to lead: whether this replica can keep the read models current. A leader that can't yields to one that can.
//!
//! A replica is fit if it reaches the database and has the fold versions of the documents. During a rolling upgrade the
//! older replicas are fit until a newer one has built a read model and switched, and the newer ones from then on.
//!
//! A leader that isn't fit asks the others. If none is fit it keeps the lease, because the other roles don't need the read
//! models. A rule without a question (don't renew while unfit) would interrupt those roles in every outage.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use dockhost_domain::incarnation::Incarnation;
use dockhost_projections::read_checkpoints;
use dockhost_projections::registry::ModelInfo;
use dockhost_projections::self_build::is_projectable;
use dockhost_projections::store::{Checkpoint, MongoStore};
use futures::StreamExt;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// The subject on which a leader asks whether another replica is fit.
const SUBJECT: &str = "dockhost.fit";
/// How often the leader checks itself.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The database counts as unreachable if it takes longer to read the checkpoints.
const READ_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Failed reads in a row before the leader asks the others.
const FAILURES_BEFORE_ASKING: u32 = 2;

/// Checks whether this replica and others are fit.
#[derive(Clone)]
pub struct Fitness {
    store: MongoStore,
    client: Client,
    incarnation: Incarnation,
}

/// What a replica lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Database,
    FoldVersion,
}

impl Fitness {
    /// For a replica with these connections and this log.
    pub const fn new(store: MongoStore, client: Client, incarnation: Incarnation) -> Self {
        Self { store, client, incarnation }
    }

    async fn check(&self) -> Result<(), Unfit> {
        // The timeout drops only the waiting; the operation runs to its end.
        let Ok(Ok(checkpoints)) = timeout(READ_TIMEOUT, read_checkpoints(&self.store)).await else {
            return Err(Unfit::Database);
        };
        let can_project = |(model, checkpoint): &(ModelInfo, Option<Checkpoint>)| {
            is_projectable(model, checkpoint.as_ref(), &self.incarnation)
        };
        if checkpoints.iter().all(can_project) { Ok(()) } else { Err(Unfit::FoldVersion) }
    }

    /// Whether this replica is fit.
    pub async fn is_fit(&self) -> bool {
        self.check().await.is_ok()
    }

    /// Answers a leader's question if this replica is fit, and is silent otherwise.
    ///
    /// # Errors
    /// The subscription could not be made.
    pub async fn answer(self, cancel: CancellationToken) -> Result<(), async_nats::SubscribeError> {
        let mut requests = self.client.subscribe(SUBJECT).await?;
        while let Some(Some(request)) = cancel.run_until_cancelled(requests.next()).await {
            if let Some(reply) = request.reply
                && self.is_fit().await
            {
                // If the answer is lost, the leader asks again.
                let _ = self.client.publish(reply, Bytes::new()).await;
            }
        }
        Ok(())
    }

    /// Returns when this replica, the leader, is not fit and another is.
    pub async fn until_should_yield(&self) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        loop {
            checks.tick().await;
            let lacks = match self.check().await {
                Ok(()) => {
                    failures = 0;
                    continue;
                }
                // One failed read may be a hiccup, another fold version is not.
                Err(Unfit::Database) if failures + 1 < FAILURES_BEFORE_ASKING => {
                    failures += 1;
                    continue;
                }
                Err(Unfit::Database) => "the database",
                Err(Unfit::FoldVersion) => "the fold version of a read model",
            };
            if self.is_another_fit().await {
                tracing::warn!(
                    lacks,
                    "another replica can project the read models, this one can't: yielding the lease"
                );
                return;
            }
        }
    }

    async fn is_another_fit(&self) -> bool {
        let answer = self.client.request(SUBJECT, Bytes::new());
        matches!(timeout(READ_TIMEOUT * 2, answer).await, Ok(Ok(_)))
    }
}
