//! The steps of a projector one by one, for tests that crash or suspend it in between.

use crate::log::LogEntry;
use crate::model::ReadModel;
use crate::projector::{FoldedBatch, ProjectionError, Projector};

impl<M: ReadModel> Projector<M> {
    /// All steps for one batch; returns the new position. After an error the batch may be given again.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn apply(&mut self, batch: &[LogEntry]) -> Result<u64, ProjectionError> {
        let batch = self.fold(batch).await?;
        self.store(&batch.folded).await?;
        self.advance_checkpoint(batch.to, batch.quarantine).await
    }

    /// The first step: folds in memory.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn fold_only(&self, batch: &[LogEntry]) -> Result<FoldedBatch<M>, ProjectionError> {
        self.fold(batch).await
    }

    /// The second step: stores the documents.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn store_only(&self, batch: &FoldedBatch<M>) -> Result<(), ProjectionError> {
        self.store(&batch.folded).await
    }

    /// The last step without the others: as if the log held nothing for the model up to `to`.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn advance(&mut self, to: u64) -> Result<u64, ProjectionError> {
        let quarantine = self.quarantine().clone();
        self.advance_checkpoint(to, quarantine).await
    }
}
