//! The projector: one task per read model folds the log into MongoDB.
//!
//! The checkpoint is the only cursor, and every write is fenced, so a projector that was suspended and continues beside its
//! successor does no harm. An event that can't be read quarantines its aggregate; a new projector, which may be a newer
//! program, retries all quarantined aggregates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhost_domain::subject::AggregateId;
use dockhost_projections::model::ReadModel;
use dockhost_projections::pipeline::Pipeline;
use dockhost_projections::projector::{ProjectionError, Projector};
use dockhost_projections::release::{Release, quarantined, release, take_released};
use dockhost_projections::store::{Checkpoint, MongoStore};
use dockhost_projections::{LogEntry, Unreadable};
use dockhost_telemetry::trace;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::Empty;

use crate::common::error::{Cause, chain};
use crate::event_log::history::LogHistory;
use crate::event_log::{Delivery, EventLog, Filter};
use crate::leader::job_runner::catch_panic;
use crate::replica::projection_progress::{ProjectionProgress, StopReason};

/// Events per batch.
const EVENTS_PER_BATCH: usize = 2000;
/// How often a projector checks whether the documents have its fold version.
const FOLD_VERSION_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often it announces meanwhile that the model has stopped.
const STOP_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(10);

/// What all projectors share.
#[derive(Clone)]
pub struct Projectors {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The database of the documents.
    pub store: MongoStore,
    /// This replica's view of the projectors' progress.
    pub progress: Arc<ProjectionProgress>,
    /// Announces the progress to the other replicas.
    pub client: async_nats::Client,
}

impl Projectors {
    /// Projects one model until cancelled; sends the aggregates that are released from the quarantine.
    ///
    /// # Errors
    /// The database is unavailable or the model must be rebuilt. A restarted projector continues from the checkpoint.
    pub async fn run<M: ReadModel>(
        self,
        released: mpsc::Sender<AggregateId>,
        cancel: CancellationToken,
    ) -> Result<(), Cause> {
        let error: Cause = match catch_panic(self.project_and_retry::<M>(released, cancel)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(panicked) => panicked.into(),
        };
        self.progress.announce_stop(&self.client, M::NAME, &StopReason::of(M::NAME, &*error)).await;
        Err(error)
    }

    /// Projects, and meanwhile retries the quarantined aggregates once.
    async fn project_and_retry<M: ReadModel>(
        &self,
        released: mpsc::Sender<AggregateId>,
        cancel: CancellationToken,
    ) -> Result<(), ProjectionError> {
        let project = self.project::<M>(&released, &cancel);
        tokio::pin!(project);
        tokio::select! {
            ended = &mut project => return ended,
            () = self.retry_quarantined::<M>(&released) => {}
        }
        project.await
    }

    async fn project<M: ReadModel>(
        &self,
        released: &mpsc::Sender<AggregateId>,
        cancel: &CancellationToken,
    ) -> Result<(), ProjectionError> {
        let mut before: Option<Checkpoint> = None;
        while let Some(mut projector) = self.open::<M>(before.as_ref(), cancel).await? {
            let (at, position) = (before.map_or(0, |before| before.sequence), projector.position());
            if position < at {
                tracing::error!(
                    model = M::NAME,
                    at,
                    position,
                    "the documents were lost; folding them again from the log"
                );
            }
            self.progress.announce(&self.client, M::NAME, projector.position()).await;
            self.send_released::<M>(released).await?;
            let ended = self.follow(&mut projector, cancel).await;
            before = Some(projector.checkpoint().clone());
            match ended {
                // The checkpoint names another collection, has another quarantine, or is gone or older.
                Err(ProjectionError::Superseded { model }) => tracing::debug!(model, "reopening the projector"),
                Err(ProjectionError::FoldChanged { .. }) => {}
                ended => return ended,
            }
        }
        Ok(())
    }

    /// Opens the projector; `None` if cancelled. If the documents have another fold version, it waits: this or another
    /// replica builds a newer version (`replica::model_builder`), and to a replica with the version of the documents
    /// this one yields the lease (`leader::fitness`).
    async fn open<M: ReadModel>(
        &self,
        before: Option<&Checkpoint>,
        cancel: &CancellationToken,
    ) -> Result<Option<Projector<M>>, ProjectionError> {
        let mut announced: Option<Instant> = None;
        loop {
            let error = match Projector::<M>::open_after(self.store.clone(), self.log.incarnation(), before).await {
                Ok(projector) => return Ok(Some(projector)),
                Err(error @ ProjectionError::FoldChanged { .. }) => error,
                Err(error) => return Err(error),
            };
            if announced.is_none() {
                tracing::warn!(model = M::NAME, %error, "not projecting: the documents have another fold version");
            }
            if announced.is_none_or(|at| at.elapsed() > STOP_ANNOUNCE_INTERVAL) {
                announced = Some(Instant::now());
                self.progress.announce_stop(&self.client, M::NAME, &StopReason::of(M::NAME, &error)).await;
            }
            if cancel.run_until_cancelled(tokio::time::sleep(FOLD_VERSION_POLL_INTERVAL)).await.is_none() {
                return Ok(None);
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
        // The spans of the batch that is folded and not yet stored.
        let mut folding = Vec::new();
        loop {
            let mut next = events.next().now_or_never().flatten();
            if next.is_none() || cancel.is_cancelled() {
                // No event is ready, so store what is folded.
                self.step(projector, async |projector| pipeline.flush(projector).await).await?;
                folding.clear();
                next = cancel.run_until_cancelled(events.next()).await.flatten();
                if next.is_some() && !M::DEBOUNCE.is_zero() {
                    // If cancelled, it stores what it has.
                    cancel.run_until_cancelled(tokio::time::sleep(M::DEBOUNCE)).await;
                }
            }
            if next.is_none() {
                return Ok(());
            }
            let (mut batch, mut is_idle): (Vec<LogEntry>, bool) = (Vec::new(), false);
            while let Some(delivery) = next {
                match delivery {
                    Delivery::Event(recorded) => batch.push(LogEntry::Event(recorded)),
                    Delivery::Unreadable { sequence, subject, why } => {
                        batch.push(LogEntry::Unreadable(Unreadable::new(subject, sequence, &why)));
                    }
                    Delivery::Barrier(_) | Delivery::CaughtUp => {}
                    Delivery::Idle => is_idle = true,
                }
                next = if batch.len() < EVENTS_PER_BATCH { events.next().now_or_never().flatten() } else { None };
            }
            if !batch.is_empty() {
                let spans = fold_spans::<M>(&batch);
                self.step(projector, async |projector| pipeline.push(projector, &batch).await).await?;
                folding = spans;
            } else if is_idle {
                match projector.check_documents().await {
                    // The next write reports an unavailable database.
                    Err(ProjectionError::Store(_)) => {}
                    checked => checked?,
                }
            }
        }
    }

    /// Runs a step and announces the new position.
    async fn step<M: ReadModel>(
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
                tracing::error!(model = M::NAME, subject, sequence, why, "can't fold an event: aggregate quarantined");
            }
        }
        Ok(())
    }

    /// Retries all quarantined aggregates. After an error the next term retries.
    async fn retry_quarantined<M: ReadModel>(&self, released: &mpsc::Sender<AggregateId>) {
        let history = LogHistory(Arc::clone(&self.log));
        for Unreadable { subject, .. } in quarantined::<M>(&self.store).await.unwrap_or_default() {
            match release::<M>(&self.store, &history, &subject).await {
                Ok(Release::Released) => {
                    tracing::info!(model = M::NAME, subject, "aggregate released from quarantine");
                    if let Err(error) = self.send_released::<M>(released).await {
                        tracing::warn!(
                            model = M::NAME,
                            error = chain(&error),
                            "could not re-queue released aggregates"
                        );
                    }
                }
                Ok(Release::StillUnreadable(Unreadable { sequence, why, .. })) => {
                    tracing::warn!(model = M::NAME, subject, sequence, why, "aggregate is still quarantined");
                }
                Ok(Release::NotQuarantined) => {}
                // A build of this program's version folds all aggregates.
                Err(ProjectionError::FoldChanged { .. }) => return,
                Err(error) => {
                    tracing::warn!(model = M::NAME, subject, error = chain(&error), "could not retry an aggregate");
                }
            }
        }
    }

    /// Sends the aggregates that were released by this or another process.
    async fn send_released<M: ReadModel>(&self, released: &mpsc::Sender<AggregateId>) -> Result<(), ProjectionError> {
        for aggregate in take_released::<M>(&self.store).await?.iter().filter_map(|subject| subject.parse().ok()) {
            // Fails only if the term is over.
            let _ = released.send(aggregate).await;
        }
        Ok(())
    }
}

/// A span for each event of a batch, in the event's trace. They end when the batch is stored.
fn fold_spans<M: ReadModel>(batch: &[LogEntry]) -> Vec<Span> {
    let span = |entry: &LogEntry| match entry {
        LogEntry::Event(recorded) => {
            let parent = recorded.envelope.origin.trace_parent?;
            let sequence = recorded.sequence;
            let span = tracing::debug_span!(parent: None, "fold", model = M::NAME, sequence, trace = Empty);
            (!span.is_disabled()).then(|| trace::continued(span, parent))
        }
        LogEntry::Unreadable(_) => None,
    };
    batch.iter().filter_map(span).collect()
}
