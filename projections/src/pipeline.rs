//! The live projector when there is much to do: one batch is folded while the one before is stored.
//!
//! In: batch after batch. Out: what [`Projector::apply`] would have made of each, one batch later. What the next batch
//! changes of documents that are just being stored is taken from memory, as they were folded: what is stored of them is
//! older. The order that keeps the documents right is the same: a batch's documents are stored before the checkpoint
//! moves to its end, and before those of the next one. What is folded and not stored lives only here, so whoever has
//! nothing more to push calls [`Pipeline::flush`].

use futures::future::join;

use crate::model::ReadModel;
use crate::projector::{FoldedBatch, ProjectionError, Projector};
use crate::quarantine::LogItem;

/// At most one batch that is folded and not yet stored.
#[derive(Debug)]
pub struct Pipeline<M: ReadModel>(Option<FoldedBatch<M>>);

impl<M: ReadModel> Default for Pipeline<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: ReadModel> Pipeline<M> {
    /// Folds a batch in while the one before is stored; returns the position, which is the end of that one.
    ///
    /// # Errors
    /// As [`Projector::apply`]; then what was not stored is forgotten, and the events from the position on may be given
    /// to a new pipeline.
    pub async fn push<E: LogItem>(
        &mut self,
        projector: &mut Projector<M>,
        batch: &[E],
    ) -> Result<u64, ProjectionError> {
        let Some(before) = self.0.take() else {
            self.0 = Some(projector.fold(batch).await?);
            return Ok(projector.position());
        };
        // Both to their end, even if one fails.
        let (folded, stored) = join(projector.fold_after(&before, batch), projector.store(&before.folded)).await;
        stored?;
        let position = projector.advance_checkpoint(before.to, before.quarantine).await?;
        self.0 = Some(folded?);
        Ok(position)
    }

    /// Stores what is folded; returns the position.
    ///
    /// # Errors
    /// As [`Projector::apply`].
    pub async fn flush(&mut self, projector: &mut Projector<M>) -> Result<u64, ProjectionError> {
        let Some(last) = self.0.take() else { return Ok(projector.position()) };
        projector.store(&last.folded).await?;
        projector.advance_checkpoint(last.to, last.quarantine).await
    }
}
