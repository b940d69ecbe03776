//! The live projector of one model: events → documents → checkpoint.
//!
//! In: batches of events, in stream order, from the checkpoint on. Out: documents that hold them, then the checkpoint.
//! Safety rests on the numbers, not on being alone: documents are loaded, folded in memory, written whole where what
//! is stored is older, and only then does the checkpoint move. After a crash in between, or beside a second projector,
//! the same events are folded again and change nothing. The caller gives *all* events of the model's kind: a gap would
//! be a lie that no later event repairs.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use dockhost_domain::incarnation::Incarnation;

use crate::model::{Folded, IdOf, ReadModel};
use crate::quarantine::{LogItem, MAX_QUARANTINED, Quarantine, keys};
use crate::store::{Advance, Cause, Checkpoint, MongoStore, StoreError};

/// Why a projector, a verification or a rebuild stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The store could not do it. The same call may be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model was folded from another log. Nothing is caught up; somebody has to decide (`dockhost rebuild`).
    #[error("the read model {model} was folded from log {stored}, this is log {ours}: rebuild it")]
    ForeignLog {
        /// The model.
        model: &'static str,
        /// The log that the checkpoint names.
        stored: Incarnation,
        /// The log at hand.
        ours: Incarnation,
    },
    /// The documents were folded by another version of the fold: they must be rebuilt.
    #[error("the read model {model} was folded by version {stored} of the fold, this is version {ours}: rebuild it")]
    FoldChanged {
        /// The model.
        model: &'static str,
        /// The version that the checkpoint names.
        stored: u32,
        /// This binary's version.
        ours: u32,
    },
    /// A rebuild put another collection in its place, or somebody else changed what is held back: open the projector again, it goes on from there.
    #[error("the read model {model} was rebuilt, or what it holds back was changed, meanwhile")]
    Superseded {
        /// The model.
        model: &'static str,
    },
    /// Another rebuild of the same model began meanwhile; this one gave way.
    #[error("another rebuild of the read model {model} began meanwhile")]
    Overtaken {
        /// The model.
        model: &'static str,
    },
    /// The events came in another order than that of the log.
    #[error("event {sequence} of the read model {model} came after event {after}")]
    OutOfOrder {
        /// The model.
        model: &'static str,
        /// The event before.
        after: u64,
        /// The event that should have come earlier.
        sequence: u64,
    },
    /// What was written of new documents was not what was read back, or somebody else wrote or dropped them.
    #[error("the new documents of {model} are not as they were written; if it was verified twice at once, do it again")]
    BadCopy {
        /// The model.
        model: &'static str,
    },
    /// The documents hold events that this log does not (any more): it lost its end. They can't be gone on from.
    #[error("the read model {model} is at {position}, the log ends at {end}: drop the database, it is folded anew")]
    AheadOfLog {
        /// The model.
        model: &'static str,
        /// Its checkpoint.
        position: u64,
        /// The log's last sequence.
        end: u64,
    },
    /// So many aggregates hold events that can't be read that this is the wrong program for this log.
    #[error(
        "more than {MAX_QUARANTINED} aggregates of the read model {model} hold events that this program can't read: run a newer one"
    )]
    QuarantineFull {
        /// The model.
        model: &'static str,
    },
    /// The log could not be read.
    #[error("the log could not be read")]
    History(#[source] Cause),
}

/// Folds events into one model's live documents.
#[derive(Debug)]
pub struct Projector<M> {
    store: MongoStore,
    checkpoint: Checkpoint,
    model: PhantomData<M>,
}

/// A batch that is folded in memory and not yet stored.
#[derive(Debug)]
pub struct FoldedBatch<M: ReadModel> {
    /// The documents with the batch in them.
    pub folded: Folded<M>,
    /// What is held back from then on.
    pub quarantine: Quarantine,
    /// The last event of the batch.
    pub to: u64,
}

impl<M: ReadModel> Projector<M> {
    /// Takes up the model where its checkpoint stands, or at the log's start; makes the indexes that are missing.
    ///
    /// # Errors
    /// [`ProjectionError::ForeignLog`] or [`ProjectionError::FoldChanged`] when the stored documents can't be gone on
    /// from; [`ProjectionError::Store`].
    pub async fn open(store: MongoStore, incarnation: &Incarnation) -> Result<Self, ProjectionError> {
        store.ping().await?;
        let checkpoint = store.load_or_create_checkpoint::<M>(incarnation).await?;
        check::<M>(&checkpoint, incarnation)?;
        store.ensure_indexes::<M>(&checkpoint.collection).await?;
        Ok(Self { store, checkpoint, model: PhantomData })
    }

    /// All events up to this stream sequence are in the documents, but for what is held back.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.checkpoint.sequence
    }

    /// The aggregates that are held back.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.checkpoint.quarantine
    }

    /// Folds a batch in and returns the new position, that of its last event. Events at or before the position are
    /// skipped, so a reader may start earlier than it needs to.
    ///
    /// # Errors
    /// [`ProjectionError`]; after one the position is what it was, and the batch may be given again.
    pub async fn apply<E: LogItem>(&mut self, batch: &[E]) -> Result<u64, ProjectionError> {
        let pending = self.fold(batch).await?;
        self.write(pending.folded).await?;
        self.advance_checkpoint(pending.to, pending.quarantine).await
    }

    /// The first step of [`Projector::apply`]: loads what the batch changes, and folds the batch in, in memory.
    ///
    /// # Errors
    /// [`ProjectionError::OutOfOrder`], `QuarantineFull`, `Store`.
    pub async fn fold<E: LogItem>(&self, batch: &[E]) -> Result<FoldedBatch<M>, ProjectionError> {
        let before =
            FoldedBatch { folded: Folded::default(), quarantine: self.quarantine().clone(), to: self.position() };
        self.fold_after(&before, batch).await
    }

    /// The same on top of a batch that is folded and not yet stored.
    pub(crate) async fn fold_after<E: LogItem>(
        &self,
        before: &FoldedBatch<M>,
        batch: &[E],
    ) -> Result<FoldedBatch<M>, ProjectionError> {
        let mut to = 0;
        for entry in batch {
            let sequence = entry.sequence();
            if sequence <= to {
                return Err(ProjectionError::OutOfOrder { model: M::NAME, after: to, sequence });
            }
            to = sequence;
        }
        let fresh = || batch.iter().filter(|entry| entry.sequence() > before.to);
        let ids: BTreeSet<IdOf<M>> = fresh().flat_map(|entry| keys::<M>(entry)).collect();
        let (known, unknown): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| before.folded.get(*id).is_some());
        let mut documents = Vec::new();
        if !unknown.is_empty() {
            documents = self.store.many_in(&self.checkpoint.collection, unknown).await?;
        }
        documents.extend(known.into_iter().filter_map(|id| before.folded.get(id).cloned()));
        let (mut folded, mut quarantine) = (Folded::from_documents(documents), before.quarantine.clone());
        for entry in fresh() {
            quarantine.fold(&mut folded, entry).map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
        }
        Ok(FoldedBatch { folded, quarantine, to })
    }

    /// The second step: stores the documents that changed, each unless what is stored is as far or further. What is
    /// left is to [`Projector::advance_checkpoint`].
    ///
    /// # Errors
    /// [`ProjectionError::Store`].
    pub async fn write(&self, folded: Folded<M>) -> Result<(), ProjectionError> {
        self.store(&folded).await
    }

    pub(crate) async fn store(&self, folded: &Folded<M>) -> Result<(), ProjectionError> {
        Ok(self.store.write(&self.checkpoint.collection, folded.changed()).await?)
    }

    /// Notes that the log holds nothing for this model up to `to`; returns the new position. Never goes back.
    ///
    /// # Errors
    /// [`ProjectionError::Superseded`] after a rebuild, `ForeignLog`, `FoldChanged`, `Store`.
    pub async fn advance(&mut self, to: u64) -> Result<u64, ProjectionError> {
        let quarantine = self.quarantine().clone();
        self.advance_checkpoint(to, quarantine).await
    }

    /// The last step of [`Projector::apply`]: notes that everything up to `to` is in the documents but for what is held
    /// back; returns the new position. Never goes back.
    ///
    /// # Errors
    /// [`ProjectionError::Superseded`] after a rebuild or when what is held back was changed by somebody else,
    /// `ForeignLog`, `FoldChanged`, `Store`.
    pub async fn advance_checkpoint(&mut self, to: u64, quarantine: Quarantine) -> Result<u64, ProjectionError> {
        if to <= self.position() {
            return Ok(self.position());
        }
        let quarantine = quarantine.replacing(self.quarantine());
        let next = Checkpoint { sequence: to, quarantine, ..self.checkpoint.clone() };
        match self.store.advance::<M>(&self.checkpoint, &next).await? {
            Advance::Advanced => {
                self.checkpoint = next;
                Ok(to)
            }
            Advance::Changed(now) => {
                check::<M>(&now, &self.checkpoint.incarnation)?;
                Err(ProjectionError::Superseded { model: M::NAME })
            }
            Advance::Missing => Err(ProjectionError::Superseded { model: M::NAME }),
        }
    }
}

/// Whether documents of this checkpoint can be gone on from.
pub(crate) fn check<M: ReadModel>(checkpoint: &Checkpoint, incarnation: &Incarnation) -> Result<(), ProjectionError> {
    if checkpoint.incarnation != *incarnation {
        let (stored, ours) = (checkpoint.incarnation.clone(), incarnation.clone());
        return Err(ProjectionError::ForeignLog { model: M::NAME, stored, ours });
    }
    if checkpoint.fold_version != M::FOLD_VERSION {
        let (stored, ours) = (checkpoint.fold_version, M::FOLD_VERSION);
        return Err(ProjectionError::FoldChanged { model: M::NAME, stored, ours });
    }
    Ok(())
}
