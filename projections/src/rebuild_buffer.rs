//! A model's documents while they are made anew: as many in memory as fit, the others in a collection.
//!
//! In: the log, up to one sequence after the other. Out: all documents as of there, in order of their ids. Memory stays
//! the same however long the log is: when there are too many documents, those that changed longest ago are written and
//! let go, and one of them is read again when an event asks for it. A small model never touches the database until it
//! is told to.
//!
//! Nobody else writes to the collection, which is checked in the end: a sum over what was written must come out of what
//! is read.

use std::collections::BTreeMap;
use std::pin::pin;

use bson::RawDocumentBuf;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::history::{History, OnProgress, Progress, Stage};
use crate::model::{Document, Folded, IdOf, ReadModel};
use crate::projector::ProjectionError;
use crate::quarantine::{LogEntry, LogItem as _, Quarantine, keys};
use crate::store::{CollectionName, MongoStore, StoreError, encode};

/// Documents in memory.
pub(crate) const DOCUMENTS_IN_MEMORY: usize = 50_000;
/// Events that are folded at once; those documents of theirs that were let go are read by one question.
const EVENTS_PER_FOLD: usize = 1000;
/// Documents that are written by one command, and commands at once.
const DOCUMENTS_PER_WRITE: usize = 1000;
const CONCURRENT_WRITES: usize = 2;

/// A number for the bytes of one document; the sum over all of them stands for the collection.
pub(crate) fn fingerprint(bytes: &RawDocumentBuf) -> u128 {
    let hash = Sha256::digest(bytes.as_bytes());
    hash.iter().take(16).fold(0, |fingerprint, byte| fingerprint << 8 | u128::from(*byte))
}

/// Documents that are being made.
pub(crate) struct RebuildBuffer<M: ReadModel> {
    store: MongoStore,
    collection: CollectionName,
    capacity: usize,
    folded: Folded<M>,
    quarantine: Quarantine,
    position: u64,
    /// Those in memory that are in the collection as well, and the fingerprint of what is there.
    written: BTreeMap<IdOf<M>, u128>,
    /// Whether some are in the collection only.
    spilled: bool,
    /// All of them.
    count: usize,
    /// The sum of the fingerprints of what is in the collection.
    sum: u128,
}

impl<M: ReadModel> RebuildBuffer<M> {
    /// Nothing folded yet; what doesn't fit in memory goes to a collection that is this buffer's alone.
    pub(crate) fn new(store: &MongoStore, collection: CollectionName, capacity: usize) -> Self {
        Self {
            store: store.clone(),
            collection,
            capacity,
            folded: Folded::default(),
            quarantine: Quarantine::default(),
            position: 0,
            written: BTreeMap::new(),
            spilled: false,
            count: 0,
            sum: 0,
        }
    }

    /// Folded up to here.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// What is held back.
    pub(crate) const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// How many documents there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Whether the collection was needed.
    pub(crate) const fn spilled(&self) -> bool {
        self.spilled
    }

    /// Folds what the log holds up to `to`.
    pub(crate) async fn fold_to(
        &mut self,
        history: &dyn History,
        to: u64,
        on_progress: OnProgress<'_>,
    ) -> Result<(), ProjectionError> {
        if to <= self.position {
            return Ok(());
        }
        let mut last = self.position;
        on_progress(Progress { model: M::NAME, stage: Stage::Fold, done: last, total: to });
        let mut chunks = pin!(history.read(M::KIND, self.position, to).ready_chunks(EVENTS_PER_FOLD));
        while let Some(chunk) = chunks.next().await {
            let mut entries = Vec::with_capacity(chunk.len());
            for entry in chunk {
                let entry = entry.map_err(ProjectionError::History)?;
                let sequence = entry.sequence();
                if sequence <= last {
                    return Err(ProjectionError::OutOfOrder { model: M::NAME, after: last, sequence });
                }
                last = sequence;
                entries.push(entry);
            }
            self.fold(&entries).await?;
            on_progress(Progress { model: M::NAME, stage: Stage::Fold, done: last.min(to), total: to });
        }
        self.position = to;
        on_progress(Progress { model: M::NAME, stage: Stage::Fold, done: to, total: to });
        Ok(())
    }

    async fn fold(&mut self, entries: &[LogEntry]) -> Result<(), ProjectionError> {
        if self.spilled {
            self.fetch(entries).await?;
        }
        // What an entry begins is new: what had been let go is there again.
        let before = self.folded.len();
        for entry in entries {
            self.quarantine
                .fold(&mut self.folded, entry)
                .map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
        }
        self.count += self.folded.len() - before;
        if self.folded.len() > self.capacity {
            self.write().await?;
            self.folded.evict_oldest(self.capacity / 2);
            self.written.retain(|id, _| self.folded.get(*id).is_some());
            self.spilled = true;
        }
        Ok(())
    }

    /// Reads what these events change and was let go.
    async fn fetch(&mut self, entries: &[LogEntry]) -> Result<(), ProjectionError> {
        let mut ids: Vec<IdOf<M>> = entries.iter().flat_map(|entry| keys::<M>(entry)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.folded.get(*id).is_none());
        if ids.is_empty() {
            return Ok(());
        }
        for (document, bytes) in self.store.stored_in::<M::Document>(&self.collection, ids).await? {
            self.written.insert(document.id(), fingerprint(&bytes));
            self.folded.put(document);
        }
        Ok(())
    }

    /// Writes what changed since it was last written.
    pub(crate) async fn write(&mut self) -> Result<(), ProjectionError> {
        let mut commands = JoinSet::new();
        for batch in self.folded.take_changed().chunks(DOCUMENTS_PER_WRITE) {
            let (mut new, mut old) = (Vec::new(), Vec::new());
            for document in batch {
                let bytes = encode(*document).map_err(StoreError::Rejected)?;
                let fingerprint = fingerprint(&bytes);
                let before = self.written.insert(document.id(), fingerprint);
                self.sum = self.sum.wrapping_add(fingerprint).wrapping_sub(before.unwrap_or(0));
                if before.is_some() { &mut old } else { &mut new }.push(bytes);
            }
            let (store, collection) = (self.store.clone(), self.collection.clone());
            commands.spawn(async move {
                if !new.is_empty() {
                    store.insert(&collection, new).await?;
                }
                if old.is_empty() { Ok(()) } else { store.replace(&collection, old).await }
            });
            if commands.len() > CONCURRENT_WRITES
                && let Some(done) = commands.join_next().await
            {
                done.map_err(StoreError::rejected)??;
            }
        }
        while let Some(done) = commands.join_next().await {
            done.map_err(StoreError::rejected)??;
        }
        Ok(())
    }

    /// All documents in their stored form, by id: from memory if they all are there, else from the collection, where
    /// they must have been written before.
    pub(crate) fn documents(&self) -> BoxStream<'_, Result<RawDocumentBuf, ProjectionError>> {
        if self.spilled {
            return self.stored();
        }
        let forms = self.folded.documents().map(|document| encode(document).map_err(StoreError::rejected));
        stream::iter(forms).map_err(ProjectionError::from).boxed()
    }

    /// What is in the collection; fails in the end if it isn't what was written there.
    pub(crate) fn stored(&self) -> BoxStream<'_, Result<RawDocumentBuf, ProjectionError>> {
        let pages = self.store.pages(&self.collection).map_err(ProjectionError::from);
        let mut found = 0_u128;
        let read = pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten();
        let last = stream::once(std::future::ready(Ok(None)));
        let sum = self.sum;
        read.map_ok(Some)
            .chain(last)
            .try_filter_map(move |document| {
                if let Some(bytes) = &document {
                    found = found.wrapping_add(fingerprint(bytes));
                }
                let bad = document.is_none() && found != sum;
                std::future::ready(if bad { Err(ProjectionError::BadCopy { model: M::NAME }) } else { Ok(document) })
            })
            .boxed()
    }
}
