//! The projector: one task per read model folds the log into MongoDB.
//!
//! In: the events of the model's kind from its checkpoint on, in order. Out: documents, the checkpoint, and word to all
//! replicas of how far the model is, or of why it stopped. The checkpoint is the only cursor; what is written carries a
//! sequence fence, so a projector that was paused and wakes up beside its successor does no harm. An event that can't be
//! read holds its own aggregate back; a new projector, which may be a newer program, tries all of those again.

use std::sync::Arc;

use dockhost_domain::subject::AggregateId;
use dockhost_projections::model::ReadModel;
use dockhost_projections::pipeline::Pipeline;
use dockhost_projections::projector::{ProjectionError, Projector};
use dockhost_projections::release::{Release, quarantined, release};
use dockhost_projections::store::MongoStore;
use dockhost_projections::{LogEntry, Unreadable};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::common::error::Cause;
use crate::common::error::chain;
use crate::event_log::history::LogHistory;
use crate::event_log::{Delivery, EventLog, Filter};
use crate::leader::job_runner::catch_panic;
use crate::replica::projection_progress::{ProjectionProgress, StopReason};

/// Events applied at once.
const EVENTS_PER_BATCH: usize = 2000;

/// What all projectors share.
#[derive(Clone)]
pub struct Projectors {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Where the documents go.
    pub store: MongoStore,
    /// Who is told.
    pub progress: Arc<ProjectionProgress>,
    /// Who tells the other replicas.
    pub client: async_nats::Client,
}

impl Projectors {
    /// Projects one model until cancelled; `released` hears which aggregates are held back no more.
    ///
    /// # Errors
    /// When the database can't be reached or the model must be rebuilt; whoever supervises the role runs it again, and
    /// it goes on from the checkpoint.
    pub async fn run<M: ReadModel>(
        self,
        released: mpsc::Sender<AggregateId>,
        cancel: CancellationToken,
    ) -> Result<(), Cause> {
        let error: Cause = match catch_panic(self.both::<M>(released, cancel)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(panicked) => panicked.into(),
        };
        self.progress.announce_stop(&self.client, M::NAME, &StopReason::of(M::NAME, &*error)).await;
        Err(error)
    }

    /// Folds on, and beside that tries what is held back.
    async fn both<M: ReadModel>(
        &self,
        released: mpsc::Sender<AggregateId>,
        cancel: CancellationToken,
    ) -> Result<(), ProjectionError> {
        let folding = self.project::<M>(&cancel);
        tokio::pin!(folding);
        tokio::select! {
            ended = &mut folding => return ended,
            () = self.retry::<M>(released) => {}
        }
        folding.await
    }

    async fn project<M: ReadModel>(&self, cancel: &CancellationToken) -> Result<(), ProjectionError> {
        loop {
            let mut projector = Projector::<M>::open(self.store.clone(), self.log.incarnation()).await?;
            self.progress.announce(&self.client, M::NAME, projector.position()).await;
            match self.follow(&mut projector, cancel).await {
                // Nothing is wrong: the checkpoint leads elsewhere now.
                Err(ProjectionError::Superseded { model }) => tracing::debug!(model, "the projector opens anew"),
                ended => return ended,
            }
        }
    }

    async fn follow<M: ReadModel>(
        &self,
        projector: &mut Projector<M>,
        cancel: &CancellationToken,
    ) -> Result<(), ProjectionError> {
        let mut events = self.log.follow(projector.position(), Filter::Kind(M::KIND));
        let mut pipeline = Pipeline::<M>::default();
        loop {
            let mut next = events.next().now_or_never().flatten();
            if next.is_none() || cancel.is_cancelled() {
                // Nothing more at once: what was folded waits for nobody.
                self.tell(projector, async |projector| pipeline.flush(projector).await).await?;
                next = cancel.run_until_cancelled(events.next()).await.flatten();
                if next.is_some() && !M::DEBOUNCE.is_zero() {
                    // Cancelled, it stores what is there.
                    cancel.run_until_cancelled(tokio::time::sleep(M::DEBOUNCE)).await;
                }
            }
            if next.is_none() {
                return Ok(());
            }
            let mut batch: Vec<LogEntry> = Vec::new();
            while let Some(delivery) = next {
                match delivery {
                    Delivery::Event(recorded) => batch.push(LogEntry::Event(recorded)),
                    Delivery::Unreadable { sequence, subject, why } => {
                        batch.push(LogEntry::Unreadable(Unreadable::new(subject, sequence, &why)));
                    }
                    Delivery::CaughtUp | Delivery::Idle => {}
                }
                next = if batch.len() < EVENTS_PER_BATCH { events.next().now_or_never().flatten() } else { None };
            }
            if !batch.is_empty() {
                self.tell(projector, async |projector| pipeline.push(projector, &batch).await).await?;
            }
        }
    }

    /// Takes a step, and tells all replicas how far the model is if it got further.
    async fn tell<M: ReadModel>(
        &self,
        projector: &mut Projector<M>,
        step: impl AsyncFnOnce(&mut Projector<M>) -> Result<u64, ProjectionError>,
    ) -> Result<(), ProjectionError> {
        let before = projector.position();
        let position = step(projector).await?;
        if position > before {
            self.progress.announce(&self.client, M::NAME, position).await;
            for Unreadable { subject, sequence, why } in
                projector.quarantine().entries().filter(|one| one.sequence > before)
            {
                tracing::error!(model = M::NAME, subject, sequence, why, "an event can't be folded: held back");
            }
        }
        Ok(())
    }

    /// Tries everything again that is held back. What goes wrong is left to the next term.
    async fn retry<M: ReadModel>(&self, released: mpsc::Sender<AggregateId>) {
        let past = LogHistory(Arc::clone(&self.log));
        for Unreadable { subject, .. } in quarantined::<M>(&self.store).await.unwrap_or_default() {
            match release::<M>(&self.store, &past, &subject).await {
                Ok(Release::Released) => {
                    tracing::info!(model = M::NAME, subject, "held back no more");
                    if let Ok(aggregate) = subject.parse() {
                        // Nobody listens any more once the term is over.
                        let _ = released.send(aggregate).await;
                    }
                }
                Ok(Release::StillUnreadable(Unreadable { sequence, why, .. })) => {
                    tracing::warn!(model = M::NAME, subject, sequence, why, "still held back");
                }
                Ok(Release::NotQuarantined) => {}
                Err(error) => {
                    tracing::warn!(model = M::NAME, subject, error = chain(&error), "could not be tried again");
                }
            }
        }
    }
}
