//! Folds one batch while the one before is stored, which is faster if there is much to do.
//!
//! The documents that a batch shares with the one before come from memory, because the stored ones are older. The order
//! stays the same: the documents of a batch are stored before the checkpoint advances to its end, and before those of the
//! next batch. The last batch is only in memory until [`Pipeline::flush`].

use futures::future::join;

use crate::log::LogEntry;
use crate::model::ReadModel;
use crate::projector::{FoldedBatch, ProjectionError, Projector};

/// Holds at most one batch that is folded and not yet stored.
#[derive(Debug)]
pub struct Pipeline<M: ReadModel>(Option<FoldedBatch<M>>);

impl<M: ReadModel> Default for Pipeline<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: ReadModel> Pipeline<M> {
    /// Folds a batch while the one before is stored; returns the position, which is the end of the stored one.
    ///
    /// # Errors
    /// [`ProjectionError`]; then the pipeline has dropped what was not stored, and the events after the position may be
    /// given to a new one.
    pub async fn push(&mut self, projector: &mut Projector<M>, batch: &[LogEntry]) -> Result<u64, ProjectionError> {
        let Some(before) = self.0.take() else {
            self.0 = Some(projector.fold(batch).await?);
            return Ok(projector.position());
        };
        // Both run to their end, even if one fails.
        let (folded, stored) = join(projector.fold_after(&before, batch), projector.store(&before.folded)).await;
        stored?;
        let position = projector.advance_checkpoint(before.to, before.quarantine).await?;
        self.0 = Some(folded?);
        Ok(position)
    }

    /// Stores the last batch; returns the position.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn flush(&mut self, projector: &mut Projector<M>) -> Result<u64, ProjectionError> {
        let Some(last) = self.0.take() else { return Ok(projector.position()) };
        projector.store(&last.folded).await?;
        projector.advance_checkpoint(last.to, last.quarantine).await
    }
}
