//! The live projector of one model: events → documents → checkpoint.
//!
//! A batch is folded in three steps: load the documents that it changes and fold in memory, store each document unless
//! the stored one is as far or further, advance the checkpoint. After a crash in between, or beside a second projector,
//! the same events are folded again and change nothing. The caller must give *all* events of the model's kind: no later
//! event repairs a gap.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use dockhost_domain::incarnation::Incarnation;

use crate::log::LogEntry;
use crate::model::{Folded, ReadModel};
use crate::store::{
    Advance, Cause, Checkpoint, CollectionName, IdOf, MAX_QUARANTINED, MongoStore, Quarantine, StoreError,
};

/// A projector, a verification or a rebuild stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The store failed; the call may be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The documents were folded from another log. An operator must decide (`dockhost rebuild`).
    #[error("the read model {model} was folded from log {stored}, this is log {ours}: rebuild it")]
    ForeignLog {
        /// The model.
        model: &'static str,
        /// The log that the checkpoint names.
        stored: Incarnation,
        /// The log of this program.
        ours: Incarnation,
    },
    /// The documents have another fold version than this program.
    #[error("the documents of {model} have fold version {stored}, and this program folds version {ours}")]
    FoldChanged {
        /// The model.
        model: &'static str,
        /// The version that the checkpoint names.
        stored: u32,
        /// The version of this program.
        ours: u32,
    },
    /// A rebuild replaced the documents, another process changed the quarantine, or the documents were lost or replaced
    /// by older ones. Reopen the projector.
    #[error("the read model {model} was rebuilt or replaced, or its quarantine was changed meanwhile")]
    Superseded {
        /// The model.
        model: &'static str,
    },
    /// Another rebuild of the same model started later, so this one stopped.
    #[error("another rebuild of the read model {model} started meanwhile")]
    Overtaken {
        /// The model.
        model: &'static str,
    },
    /// The events are not in the order of the log.
    #[error("event {sequence} of the read model {model} came after event {after}")]
    OutOfOrder {
        /// The model.
        model: &'static str,
        /// The event before.
        after: u64,
        /// The event with a lower or equal sequence.
        sequence: u64,
    },
    /// The documents that were read back are not those that were written: another process wrote or dropped them.
    #[error(
        "the new documents of {model} are not as they were written; if two verifications ran at once, run one again"
    )]
    BadCopy {
        /// The model.
        model: &'static str,
    },
    /// The documents hold events that the log lacks, because it lost its end.
    #[error("the read model {model} is at {position}, but the log ends at {end}: drop the database to fold it again")]
    AheadOfLog {
        /// The model.
        model: &'static str,
        /// Its checkpoint.
        position: u64,
        /// The log's last sequence.
        end: u64,
    },
    /// So many aggregates hold events that can't be read that this program is too old for the log.
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

/// Folds events into the live documents of a model.
#[derive(Debug)]
pub struct Projector<M> {
    store: MongoStore,
    checkpoint: Checkpoint,
    model: PhantomData<M>,
}

/// A batch that is folded in memory and not yet stored.
#[derive(Debug)]
pub struct FoldedBatch<M: ReadModel> {
    /// The documents after the batch.
    pub(crate) folded: Folded<M>,
    /// The quarantine after the batch.
    pub(crate) quarantine: Quarantine,
    /// The last event of the batch.
    pub(crate) to: u64,
}

impl<M: ReadModel> Projector<M> {
    /// Opens the model at its checkpoint, or at the start of the log if there is none; creates missing indexes.
    ///
    /// # Errors
    /// [`ProjectionError::ForeignLog`] or [`ProjectionError::FoldChanged`] if this program can't continue the stored
    /// documents; [`ProjectionError::Store`].
    pub async fn open(store: MongoStore, incarnation: &Incarnation) -> Result<Self, ProjectionError> {
        Self::open_after(store, incarnation, None).await
    }

    /// The same after a projector of this process that was at `before`. If the checkpoint is gone or older than that, the
    /// database was lost or replaced by an older copy. Such documents may be incomplete (a restore fills one collection
    /// after the other), so all are folded again, into a new collection.
    ///
    /// # Errors
    /// As [`Projector::open`].
    pub async fn open_after(
        store: MongoStore,
        incarnation: &Incarnation,
        before: Option<&Checkpoint>,
    ) -> Result<Self, ProjectionError> {
        store.ping().await?;
        let checkpoint = match before {
            Some(before) => continue_or_restart::<M>(&store, before).await?,
            None => store.load_or_create_checkpoint::<M>(incarnation).await?,
        };
        check::<M>(&checkpoint, incarnation)?;
        store.ensure_indexes::<M>(&checkpoint.collection).await?;
        Ok(Self { store, checkpoint, model: PhantomData })
    }

    /// All events up to this sequence are in the documents, except those of quarantined aggregates.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.checkpoint.sequence
    }

    /// The checkpoint, for [`Projector::open_after`].
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Checks that the documents and the quarantine are still those of this projector, for while there is nothing to fold.
    ///
    /// # Errors
    /// [`ProjectionError::Superseded`] if not, `Store`.
    pub async fn check_documents(&self) -> Result<(), ProjectionError> {
        let now = self.store.checkpoint::<M>().await?;
        let is_same = now.is_some_and(|now| {
            now.collection == self.checkpoint.collection
                && now.quarantine.changes() == self.checkpoint.quarantine.changes()
                && !now.is_older_than(&self.checkpoint)
        });
        if is_same { Ok(()) } else { Err(ProjectionError::Superseded { model: M::NAME }) }
    }

    /// The quarantined aggregates.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.checkpoint.quarantine
    }

    /// Folds a batch in memory. Skips entries at or before the position, so a reader may start early.
    ///
    /// # Errors
    /// [`ProjectionError::OutOfOrder`], `QuarantineFull`, `Store`.
    pub(crate) async fn fold(&self, batch: &[LogEntry]) -> Result<FoldedBatch<M>, ProjectionError> {
        let before =
            FoldedBatch { folded: Folded::default(), quarantine: self.quarantine().clone(), to: self.position() };
        self.fold_after(&before, batch).await
    }

    /// The same after a batch that is not yet stored.
    pub(crate) async fn fold_after(
        &self,
        before: &FoldedBatch<M>,
        batch: &[LogEntry],
    ) -> Result<FoldedBatch<M>, ProjectionError> {
        let mut to = 0;
        for sequence in batch.iter().map(LogEntry::sequence) {
            if sequence <= to {
                return Err(ProjectionError::OutOfOrder { model: M::NAME, after: to, sequence });
            }
            to = sequence;
        }
        let fresh = || batch.iter().filter(|entry| entry.sequence() > before.to);
        let ids: BTreeSet<IdOf<M>> = fresh().flat_map(LogEntry::keys::<M>).collect();
        let (known, unknown): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| before.folded.get(*id).is_some());
        let mut documents = Vec::new();
        if !unknown.is_empty() {
            // Older documents would be stored without the events in between.
            documents = match self.store.many_at::<M>(&self.checkpoint, unknown).await? {
                Some(found) => found,
                None => return Err(self.superseded_by(self.store.checkpoint::<M>().await?.as_ref())),
            };
        }
        documents.extend(known.into_iter().filter_map(|id| before.folded.get(id).cloned()));
        let (mut folded, mut quarantine) = (Folded::from_documents(documents), before.quarantine.clone());
        for entry in fresh() {
            folded
                .fold_entry(entry, &mut quarantine)
                .map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
        }
        Ok(FoldedBatch { folded, quarantine, to })
    }

    /// Stores the documents that changed, each unless the stored one is as far or further.
    pub(crate) async fn store(&self, folded: &Folded<M>) -> Result<(), ProjectionError> {
        Ok(self.store.write::<M>(&self.checkpoint.collection, folded.changed()).await?)
    }

    /// Records that everything up to `to` is in the documents except the quarantine; returns the new position, which
    /// never goes back.
    ///
    /// # Errors
    /// [`ProjectionError::Superseded`] after a rebuild or another change of the quarantine, `ForeignLog`, `FoldChanged`,
    /// `Store`.
    pub(crate) async fn advance_checkpoint(&mut self, to: u64, quarantine: Quarantine) -> Result<u64, ProjectionError> {
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
            Advance::Changed(now) => Err(self.superseded_by(Some(&now))),
            Advance::Missing => Err(self.superseded_by(None)),
        }
    }

    /// Why the documents of this checkpoint can't be continued.
    fn superseded_by(&self, now: Option<&Checkpoint>) -> ProjectionError {
        let checked = now.map_or(Ok(()), |now| check::<M>(now, &self.checkpoint.incarnation));
        checked.err().unwrap_or(ProjectionError::Superseded { model: M::NAME })
    }
}

/// The checkpoint to continue from after a projector that was at `before`.
async fn continue_or_restart<M: ReadModel>(
    store: &MongoStore,
    before: &Checkpoint,
) -> Result<Checkpoint, ProjectionError> {
    loop {
        let now = store.latest_checkpoint::<M>().await?;
        let seen = match now {
            Some(now) if !now.is_older_than(before) => return Ok(now),
            seen => seen,
        };
        let number = |name: &CollectionName| CollectionName::number(M::NAME, name.as_str()).unwrap_or(0);
        let named = seen.iter().chain([before]).flat_map(|one| {
            [Some(&one.collection), one.building.as_ref(), one.last_reserved.as_ref()].into_iter().flatten()
        });
        let present = store.collections(M::NAME).await?.into_iter().map(|(number, _)| number);
        let taken = present.chain(named.map(number)).max().unwrap_or(0);
        let collection = CollectionName::numbered(M::NAME, taken + 1);
        let last_reserved = Some(collection.clone());
        let fresh = Checkpoint { collection, last_reserved, ..Checkpoint::first::<M>(&before.incarnation) };
        if store.restart_checkpoint(seen.as_ref(), &fresh).await? {
            return Ok(store.latest_checkpoint::<M>().await?.unwrap_or(fresh));
        }
    }
}

/// Whether this program can continue the documents of this checkpoint.
pub(crate) fn check<M: ReadModel>(checkpoint: &Checkpoint, incarnation: &Incarnation) -> Result<(), ProjectionError> {
    if checkpoint.incarnation != *incarnation {
        let (stored, ours) = (checkpoint.incarnation.clone(), incarnation.clone());
        return Err(ProjectionError::ForeignLog { model: M::NAME, stored, ours });
    }
    if checkpoint.fold_version != M::fold_version() {
        let (stored, ours) = (checkpoint.fold_version, M::fold_version());
        return Err(ProjectionError::FoldChanged { model: M::NAME, stored, ours });
    }
    Ok(())
}
