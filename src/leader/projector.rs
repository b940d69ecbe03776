//! The projector: one task per read model folds the log into MongoDB.
//!
//! In: the events of the model's kind from its checkpoint on, in order. Out: documents, the checkpoint, and word to all
//! replicas of how far the model is. The checkpoint is the only cursor; what is written carries a sequence fence, so a
//! projector that was paused and wakes up beside its successor does no harm.

use std::sync::Arc;

use dockhost_domain::envelope::Recorded;
use dockhost_projections::model::ReadModel;
use dockhost_projections::projector::Projector;
use dockhost_projections::store::MongoStore;
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::event_log::{Cause, Delivery, EventLog, Filter};
use crate::positions::Positions;

/// Events applied at once.
const BATCH: usize = 500;

/// What all projectors share.
#[derive(Clone)]
pub struct Projectors {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Where the documents go.
    pub store: MongoStore,
    /// Who is told.
    pub positions: Arc<Positions>,
    /// Who tells the other replicas.
    pub client: async_nats::Client,
}

impl Projectors {
    /// Projects one model until cancelled.
    ///
    /// # Errors
    /// When the database can't be reached, the model must be rebuilt, or an event can't be read; whoever supervises
    /// the role runs it again, and it goes on from the checkpoint.
    pub async fn run<M: ReadModel>(self, cancel: CancellationToken) -> Result<(), Cause> {
        let mut projector = Projector::<M>::open(self.store.clone(), self.log.incarnation()).await?;
        self.positions.announce(&self.client, M::NAME, projector.position()).await;
        let mut events = self.log.follow(projector.position(), Filter::Kind(M::KIND));
        while let Some(Some(first)) = cancel.run_until_cancelled(events.next()).await {
            let mut batch: Vec<Arc<Recorded>> = Vec::new();
            let mut next = Some(first);
            while let Some(delivery) = next {
                match delivery {
                    Delivery::Event(recorded) => batch.push(recorded),
                    Delivery::Unreadable { sequence, why, .. } => {
                        self.apply(&mut projector, &batch).await?;
                        return Err(format!("event {sequence} can't be read: {why}").into());
                    }
                    Delivery::CaughtUp | Delivery::Idle => {}
                }
                next = if batch.len() < BATCH { events.next().now_or_never().flatten() } else { None };
            }
            self.apply(&mut projector, &batch).await?;
        }
        Ok(())
    }

    async fn apply<M: ReadModel>(&self, projector: &mut Projector<M>, batch: &[Arc<Recorded>]) -> Result<(), Cause> {
        if !batch.is_empty() {
            let position = projector.apply(batch).await?;
            self.positions.announce(&self.client, M::NAME, position).await;
        }
        Ok(())
    }
}
