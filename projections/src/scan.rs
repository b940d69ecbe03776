//! One pass over the log for several models.
//!
//! The broker needs several times as long to select the events of one kind as to deliver all, so models that are folded
//! from the beginning together share one unfiltered read.

use std::marker::PhantomData;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};

use crate::log::{History, LogEntry, OnProgress};
use crate::model::ReadModel;
use crate::projector::ProjectionError;
use crate::registry::ModelVisitor;
use crate::store::MongoStore;

/// Entries that are folded at once. Documents that they change and that are not in memory are read by one query.
pub(crate) const ENTRIES_PER_FOLD: usize = 1000;

/// A model that is folded by a scan.
pub(crate) trait ScanTarget: Send {
    /// The kind of aggregate that it folds.
    fn kind(&self) -> &'static str;

    /// Folds entries of its kind, in order.
    fn fold<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, Result<(), ProjectionError>>;

    /// Sets the position after the last entry up to `reached`, and reports progress toward `to`.
    fn set_position(&mut self, reached: u64, to: u64, on_progress: OnProgress<'_>);
}

/// One model of a scan.
pub(crate) struct Scanned<'a> {
    pub(crate) target: &'a mut dyn ScanTarget,
    /// The last sequence that it folds.
    pub(crate) to: u64,
    /// An error ends this model and not the others.
    pub(crate) result: Result<(), ProjectionError>,
}

/// Folds the log from its beginning into each model.
///
/// # Errors
/// The log could not be read: none of the models is complete. An error of a single model is in its `result`.
pub(crate) async fn scan(
    history: &dyn History,
    models: &mut [Scanned<'_>],
    on_progress: OnProgress<'_>,
) -> Result<(), ProjectionError> {
    let end = models.iter().map(|model| model.to).max().unwrap_or(0);
    let mut chunks = history.read_all(0, end).ready_chunks(ENTRIES_PER_FOLD);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>().map_err(ProjectionError::History)?;
        let reached = chunk.last().map_or(0, LogEntry::sequence);
        join_all(models.iter_mut().map(|model| model.fold(&chunk, reached, on_progress))).await;
        if models.iter().all(|model| model.result.is_err()) {
            return Ok(());
        }
    }
    for model in models {
        model.target.set_position(model.to, model.to, on_progress);
    }
    Ok(())
}

impl Scanned<'_> {
    async fn fold(&mut self, chunk: &[LogEntry], reached: u64, on_progress: OnProgress<'_>) {
        if self.result.is_err() {
            return;
        }
        let (kind, to) = (self.target.kind(), self.to);
        let selected = |entry: &&LogEntry| entry.sequence() <= to && entry.is_of_kind(kind);
        let entries: Vec<LogEntry> = chunk.iter().filter(selected).cloned().collect();
        if !entries.is_empty() {
            self.result = self.target.fold(&entries).await;
        }
        self.target.set_position(reached.min(to), to, on_progress);
    }
}

/// A rebuild or a verification of one model.
pub(crate) trait ModelJob: Send + 'static {
    /// Its result.
    type Output;

    /// What a scan folds.
    fn scanned(&mut self) -> Scanned<'_>;

    /// Does the rest. Reads what the scan did not fold by itself.
    fn finish<'a>(
        self: Box<Self>,
        history: &'a dyn History,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<Self::Output, ProjectionError>>;
}

/// The result for one model of several.
#[derive(Debug)]
pub struct ModelResult<T> {
    /// The model.
    pub model: &'static str,
    /// Its result.
    pub result: Result<T, ProjectionError>,
}

/// A job that is being started.
pub(crate) type StartedJob<'a, T> = BoxFuture<'a, Result<Box<dyn ModelJob<Output = T>>, ProjectionError>>;

/// Rebuilds or verifications.
pub(crate) trait JobKind {
    /// The result for a model.
    type Output: 'static;

    /// Starts the job of a model.
    fn start<'a, M: ReadModel>(store: &'a MongoStore, history: &'a dyn History) -> StartedJob<'a, Self::Output>;
}

struct Start<'a, K> {
    store: &'a MongoStore,
    history: &'a dyn History,
    kind: PhantomData<K>,
}

impl<'a, K: JobKind> ModelVisitor for Start<'a, K> {
    type Output = BoxFuture<'a, ModelResult<Box<dyn ModelJob<Output = K::Output>>>>;

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        K::start::<M>(self.store, self.history).map(|result| ModelResult { model: M::NAME, result }).boxed()
    }
}

/// Runs the jobs of all models, or of the named one: several over one scan of the log, a single one with a filtered read.
///
/// # Errors
/// The log could not be read.
pub(crate) async fn run_jobs<K: JobKind>(
    store: &MongoStore,
    history: &dyn History,
    only: Option<&str>,
    on_progress: OnProgress<'_>,
) -> Result<Vec<ModelResult<K::Output>>, ProjectionError> {
    let start = &mut Start::<K> { store, history, kind: PhantomData };
    let mut jobs = join_all(crate::visit_selected(only, start)).await;
    if jobs.iter().filter(|job| job.result.is_ok()).count() > 1 {
        let mut models: Vec<_> =
            jobs.iter_mut().filter_map(|job| job.result.as_mut().ok()).map(|job| job.scanned()).collect();
        scan(history, &mut models, on_progress).await?;
        let mut scanned: Vec<_> = models.into_iter().map(|model| model.result).collect();
        for job in jobs.iter_mut().filter(|job| job.result.is_ok()).rev() {
            if let Some(Err(error)) = scanned.pop() {
                job.result = Err(error);
            }
        }
    }
    let finished = jobs.into_iter().map(|ModelResult { model, result }| async move {
        let result = match result {
            Ok(job) => job.finish(history, on_progress).await,
            Err(error) => Err(error),
        };
        ModelResult { model, result }
    });
    Ok(join_all(finished).await)
}
