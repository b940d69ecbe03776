//! Holds entries back until the read models have them, so that whoever is told of a change can query it.

use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::subject::AggregateId;
use dockhost_projections::registry::ModelVisitor;
use dockhost_projections::{LogEntry, MODELS, ReadModel, visit_all};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use crate::replica::projection_progress::ProjectionProgress;

/// The aggregate of an entry, if its subject names one.
pub fn aggregate(entry: &LogEntry) -> Option<AggregateId> {
    match entry {
        LogEntry::Event(recorded) => Some(recorded.envelope.aggregate),
        LogEntry::Unreadable(unreadable) => unreadable.subject.parse().ok(),
    }
}

/// Whether the read models that fold an entry have it.
pub fn is_in_models(progress: &ProjectionProgress, entry: &LogEntry) -> bool {
    let kind = aggregate(entry).map(|aggregate| aggregate.kind());
    let mut models = MODELS.iter().filter(|model| Some(model.kind) == kind);
    models.all(|model| progress.position(model.name) >= entry.sequence())
}

/// Waits until the read models that fold an entry have it, at most `within`.
pub async fn wait_for_models(progress: &Arc<ProjectionProgress>, entry: &LogEntry, within: Duration) {
    let kind = aggregate(entry).map(|aggregate| aggregate.kind());
    let mut wait = Wait { progress, kind, sequence: entry.sequence(), within };
    join_all(visit_all(&mut wait).into_iter().flatten()).await;
}

struct Wait<'a> {
    progress: &'a Arc<ProjectionProgress>,
    kind: Option<&'static str>,
    sequence: u64,
    within: Duration,
}

impl ModelVisitor for Wait<'_> {
    type Output = Option<BoxFuture<'static, bool>>;

    fn visit<M: ReadModel>(&mut self) -> Self::Output {
        let (progress, sequence, within) = (Arc::clone(self.progress), self.sequence, self.within);
        let wait = async move { progress.wait_until::<M>(sequence, within).await };
        (Some(M::KIND) == self.kind).then(|| wait.boxed())
    }
}
