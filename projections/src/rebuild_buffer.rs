//! The documents of a model while they are rebuilt: as many in memory as fit, the others in a collection.
//!
//! Memory is bounded however long the log is. If there are too many documents, the buffer writes those that changed
//! longest ago to the collection and evicts them, and reads one again when an event changes it. A model that fits in
//! memory does not touch the database before [`RebuildBuffer::write`].
//!
//! Only the buffer writes to its collection. [`RebuildBuffer::stored`] checks that: the fingerprints of what it reads must
//! have the same sum as those of what was written.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bson::RawDocumentBuf;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::build_reporter::FoldProgress;
use crate::log::{History, LogEntry, OnProgress, Progress, Stage};
use crate::model::{Folded, ReadModel};
use crate::projector::ProjectionError;
use crate::scan::{ENTRIES_PER_FOLD, ScanTarget};
use crate::store::{CollectionName, Document, IdOf, MongoStore, Quarantine, StoreError, encode};

/// Documents in memory.
pub(crate) const DOCUMENTS_IN_MEMORY: usize = 50_000;
/// Documents per write command.
const DOCUMENTS_PER_WRITE: usize = 1000;
/// Concurrent write commands.
const CONCURRENT_WRITES: usize = 2;

/// A number for the bytes of one document; the sum over all documents identifies the contents of a collection.
pub(crate) fn fingerprint(bytes: &RawDocumentBuf) -> u128 {
    let hash = Sha256::digest(bytes.as_bytes());
    hash.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Documents that are rebuilt.
pub(crate) struct RebuildBuffer<M: ReadModel> {
    store: MongoStore,
    collection: CollectionName,
    capacity: usize,
    folded: Folded<M>,
    quarantine: Quarantine,
    position: u64,
    /// The documents in memory that are in the collection as well, and the fingerprint of what is stored there.
    written: BTreeMap<IdOf<M>, u128>,
    /// Whether some documents are in the collection only.
    spilled: bool,
    /// The number of all documents.
    count: usize,
    /// The sum of the fingerprints of what is in the collection.
    sum: u128,
    progress: Arc<FoldProgress>,
}

impl<M: ReadModel> RebuildBuffer<M> {
    /// An empty buffer. No one else may write to the collection.
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
            progress: Arc::default(),
        }
    }

    /// The sequence up to which the log is folded.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The aggregates that could not be folded.
    pub(crate) const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// How far the log is folded, for reports.
    pub(crate) fn progress(&self) -> Arc<FoldProgress> {
        Arc::clone(&self.progress)
    }

    /// How many documents there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Whether some documents are in the collection only.
    pub(crate) const fn spilled(&self) -> bool {
        self.spilled
    }

    /// Folds the log from the position up to `to`.
    pub(crate) async fn fold_to(
        &mut self,
        history: &dyn History,
        to: u64,
        on_progress: OnProgress<'_>,
    ) -> Result<(), ProjectionError> {
        if to <= self.position {
            return Ok(());
        }
        self.set_position(self.position, to, on_progress);
        let mut chunks = pin!(history.read(M::KIND, self.position, to).ready_chunks(ENTRIES_PER_FOLD));
        while let Some(chunk) = chunks.next().await {
            let entries = chunk.into_iter().collect::<Result<Vec<_>, _>>().map_err(ProjectionError::History)?;
            self.fold_entries(&entries).await?;
            let reached = entries.last().map_or(self.position, LogEntry::sequence);
            self.set_position(reached, to, on_progress);
        }
        self.set_position(to, to, on_progress);
        Ok(())
    }

    async fn fold_entries(&mut self, entries: &[LogEntry]) -> Result<(), ProjectionError> {
        let mut after = self.position;
        for sequence in entries.iter().map(LogEntry::sequence) {
            if sequence <= after {
                return Err(ProjectionError::OutOfOrder { model: M::NAME, after, sequence });
            }
            after = sequence;
        }
        if self.spilled {
            self.fetch(entries).await?;
        }
        // Evicted documents that change were just fetched, so every document that is added is new.
        let before = self.folded.len();
        for entry in entries {
            self.folded
                .fold_entry(entry, &mut self.quarantine)
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

    /// Reads the evicted documents that these entries change.
    async fn fetch(&mut self, entries: &[LogEntry]) -> Result<(), ProjectionError> {
        let mut ids: Vec<IdOf<M>> = entries.iter().flat_map(LogEntry::keys::<M>).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| self.folded.get(*id).is_none());
        if ids.is_empty() {
            return Ok(());
        }
        for (document, bytes) in self.store.stored_in::<M::Document>(&self.collection, ids).await? {
            self.written.insert(document.id(), fingerprint(&bytes));
            self.folded.insert(document);
        }
        Ok(())
    }

    /// Writes what changed since the last write.
    pub(crate) async fn write(&mut self) -> Result<(), ProjectionError> {
        let mut commands = JoinSet::new();
        for batch in self.folded.take_changed().chunks(DOCUMENTS_PER_WRITE) {
            let (mut new, mut old) = (Vec::new(), Vec::new());
            for document in batch {
                let bytes = encode::<M>(document).map_err(StoreError::Rejected)?;
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

    /// All documents in their stored form, by id. If the buffer has spilled, it must have been written before.
    pub(crate) fn documents(&self) -> BoxStream<'_, Result<RawDocumentBuf, ProjectionError>> {
        if self.spilled {
            return self.stored();
        }
        let forms = self.folded.documents().map(|document| encode::<M>(document).map_err(StoreError::rejected));
        stream::iter(forms).map_err(ProjectionError::from).boxed()
    }

    /// What is in the collection; ends with an error if that is not what was written.
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

impl<M: ReadModel> ScanTarget for RebuildBuffer<M> {
    fn kind(&self) -> &'static str {
        M::KIND
    }

    fn fold<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, Result<(), ProjectionError>> {
        self.fold_entries(entries).boxed()
    }

    fn set_position(&mut self, reached: u64, to: u64, on_progress: OnProgress<'_>) {
        self.position = self.position.max(reached);
        self.progress.set(self.position.min(to), to);
        on_progress(Progress { model: M::NAME, stage: Stage::Fold, done: self.position.min(to), total: to });
    }
}
