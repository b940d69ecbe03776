//! The log's past, as a rebuild or a verification needs it: a port that the server wires to the log.
//!
//! In: a range of the log. Out: its events of one kind, in order, folded into memory while somebody watches.

use dockhost_domain::envelope::Recorded;
use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::{Folded, ReadModel};
use crate::projector::ProjectionError;
use crate::quarantine::{Entry, Logged, Quarantine};
use crate::store::Cause;

/// The port to the log's past.
pub trait History: Send + Sync {
    /// Which log it is.
    fn incarnation(&self) -> Incarnation;

    /// The last sequence of the whole log now.
    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>>;

    /// Everything on the subjects of this kind of aggregate with `after < sequence <= to`, in order, what can't be read
    /// included; then it ends. `to` is never beyond what [`History::end`] has said.
    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<Entry, Cause>>;

    /// The same of one aggregate.
    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<Entry, Cause>>;
}

/// How far a long operation is, in stream sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The model.
    pub model: &'static str,
    /// Folded up to here.
    pub done: u64,
    /// Of this many.
    pub total: u64,
}

/// Is told of progress, about a thousand events apart and at the end.
pub type Watcher<'a> = &'a mut (dyn FnMut(Progress) + Send);

const EVERY: u64 = 1000;

/// Folds a range of the log, but for what is or comes to be held; `each` sees the documents right after each event that
/// changed one, with that event.
pub(crate) async fn fold_range<M: ReadModel>(
    history: &dyn History,
    (folded, quarantine): (&mut Folded<M>, &mut Quarantine),
    (after, to): (u64, u64),
    watcher: Watcher<'_>,
    mut each: impl FnMut(&Recorded, &M::Document) + Send,
) -> Result<(), ProjectionError> {
    let mut events = history.read(M::KIND, after, to);
    let (mut count, mut last) = (0_u64, after);
    while let Some(entry) = events.try_next().await.map_err(ProjectionError::History)? {
        let sequence = entry.sequence();
        if sequence <= last {
            return Err(ProjectionError::OutOfOrder { model: M::NAME, after: last, sequence });
        }
        if sequence > to {
            break;
        }
        last = sequence;
        let changed = quarantine.fold(folded, &entry).map_err(|_| ProjectionError::TooManyHeld { model: M::NAME })?;
        if let Ok(recorded) = entry.logged() {
            changed.into_iter().filter_map(|id| folded.get(id)).for_each(|document| each(recorded, document));
        }
        count += 1;
        if count.is_multiple_of(EVERY) {
            watcher(Progress { model: M::NAME, done: sequence, total: to });
        }
    }
    watcher(Progress { model: M::NAME, done: to, total: to });
    Ok(())
}
