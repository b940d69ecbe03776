//! Compares the live documents of a model with documents that were folded from the log, id by id.
//!
//! The live documents are read after the checkpoint was, and the live projector continues meanwhile. This still misses
//! nothing and reports no false difference, because all events up to the checkpoint were in the documents before they
//! were read:
//! - A document whose `seq` is not beyond the checkpoint must equal the folded one byte for byte; if it isn't there, it
//!   is missing.
//! - A document whose `seq` is beyond the checkpoint was changed since. It is compared with the fold *at its own `seq`*,
//!   for which the events after the checkpoint are read.
//! - A document of an aggregate that the checkpoint lists as quarantined, but that this program can fold, is compared at
//!   its own `seq` too, which must not be before the last event that precedes the quarantined one.
//!
//! Both sides are read in the order of their ids, some pages at a time.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use dockhost_domain::subject::AggregateId;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::comparison::{Comparison, Difference, DifferenceKind};
use crate::digest::{Digest, DigestBuilder, canonical, mismatches};
use crate::log::{History, LogEntry, OnProgress, Progress, Stage};
use crate::model::{Folded, ReadModel};
use crate::projector::ProjectionError;
use crate::rebuild_buffer::RebuildBuffer;
use crate::store::{
    Checkpoint, CollectionName, Document, IdOf, MongoStore, Quarantine, StoreError, encode, json, malformed,
};

/// Pages whose canonical texts are computed concurrently.
const PAGES_ENCODED_AHEAD: usize = 2;
/// Documents between two calls of `on_progress`.
const DOCUMENTS_PER_PROGRESS: usize = 1000;

/// A document in its stored form.
struct StoredDocument {
    id: Option<String>,
    seq: u64,
    bytes: RawDocumentBuf,
}

impl StoredDocument {
    fn of(bytes: RawDocumentBuf) -> Self {
        let seq = bytes.get("seq").ok().flatten().and_then(bson::RawBsonRef::as_i64);
        let id = bytes.get("_id").ok().flatten().and_then(|id| id.as_str().map(str::to_owned));
        Self { id, seq: seq.and_then(|seq| seq.try_into().ok()).unwrap_or(0), bytes }
    }

    fn value(&self, collection: &CollectionName) -> Result<Value, StoreError> {
        json(&self.bytes).map_err(|source| malformed(collection.as_str(), &self.bytes, source))
    }
}

/// A live document with its canonical text.
struct LiveDocument {
    stored: StoredDocument,
    text: String,
}

/// Compares. The buffer must be folded up to exactly the checkpoint, and written if it has spilled.
pub(crate) async fn compare<M: ReadModel>(
    store: &MongoStore,
    history: &dyn History,
    checkpoint: &Checkpoint,
    buffer: &RebuildBuffer<M>,
    on_progress: OnProgress<'_>,
) -> Result<Comparison, ProjectionError> {
    let mut comparer = Comparer::<M> {
        history,
        checkpoint,
        later_events: EventsByDocument::new(buffer.quarantine().clone(), buffer.position()),
        quarantined: quarantined_documents(history, checkpoint, buffer.quarantine()).await?,
        builder: ComparisonBuilder::default(),
    };
    let mut live = live(store, &checkpoint.collection);
    let mut folded = buffer.documents().map_ok(StoredDocument::of);
    let (mut left, mut right) = (live.try_next().await?, folded.try_next().await?);
    let mut compared = 0;
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // The ids of this program are text; a document with another id is unexpected.
            (Some(live), Some(folded)) => {
                live.stored.id.as_ref().map_or(Ordering::Less, |id| Some(id).cmp(&folded.id.as_ref()))
            }
        };
        match (order, &left, &right) {
            (Ordering::Less, Some(live), _) => comparer.live(live, None).await?,
            (Ordering::Greater, _, Some(folded)) => comparer.missing(folded)?,
            (_, Some(live), folded) => comparer.live(live, folded.as_ref()).await?,
            (_, None, _) => {}
        }
        if order != Ordering::Greater {
            left = live.try_next().await?;
        }
        if order != Ordering::Less {
            right = folded.try_next().await?;
            compared += 1;
            if compared % DOCUMENTS_PER_PROGRESS == 0 {
                report_progress::<M>(on_progress, compared, buffer.len());
            }
        }
    }
    report_progress::<M>(on_progress, buffer.len(), buffer.len());
    Ok(comparer.builder.finish::<M>(checkpoint))
}

fn report_progress<M: ReadModel>(on_progress: OnProgress<'_>, done: usize, total: usize) {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    on_progress(Progress { model: M::NAME, stage: Stage::Compare, done: count(done), total: count(total) });
}

/// The live documents. Blocking tasks compute the canonical texts.
fn live(store: &MongoStore, collection: &CollectionName) -> BoxStream<'static, Result<LiveDocument, ProjectionError>> {
    let name = collection.clone();
    let texts = store.pages(collection).map(move |page| {
        let name = name.clone();
        async move {
            let page = page?;
            let texts = tokio::task::spawn_blocking(move || {
                let live = page.into_iter().map(StoredDocument::of).map(|stored| {
                    let text = canonical(stored.value(&name)?);
                    Ok(LiveDocument { stored, text })
                });
                live.collect::<Result<Vec<_>, StoreError>>()
            });
            texts.await.map_err(StoreError::rejected)?
        }
    });
    let pages = texts.buffered(PAGES_ENCODED_AHEAD).map_err(ProjectionError::from);
    pages.map_ok(|page| futures::stream::iter(page.into_iter().map(Ok))).try_flatten().boxed()
}

struct Comparer<'a, M: ReadModel> {
    history: &'a dyn History,
    checkpoint: &'a Checkpoint,
    /// Events after the checkpoint, as far as they were needed.
    later_events: EventsByDocument<M>,
    quarantined: QuarantinedDocuments<M>,
    builder: ComparisonBuilder,
}

impl<M: ReadModel> Comparer<'_, M> {
    /// Compares a live document with the folded one of the same id.
    async fn live(&mut self, live: &LiveDocument, folded: Option<&StoredDocument>) -> Result<(), ProjectionError> {
        let collection = &self.checkpoint.collection;
        let StoredDocument { id, seq, bytes } = &live.stored;
        if *seq <= self.checkpoint.sequence && folded.is_some_and(|folded| folded.bytes == *bytes) {
            self.builder.equal(&live.text);
            return Ok(());
        }
        let parsed = id.as_ref().and_then(|id| id.parse::<IdOf<M>>().ok());
        let quarantined = parsed.and_then(|id| self.quarantined.required.get(&id).map(|before| (id, *before)));
        let expected = if let Some((id, before)) = quarantined {
            let required = self.quarantined.events.document_at(id, None, before);
            let at_seq = self.quarantined.events.document_at(id, None, *seq);
            let is_behind = required.as_ref().is_some_and(|required| required.seq() > *seq);
            if is_behind { required } else { at_seq }.map(|document| form::<M>(&document)).transpose()?
        } else if let Some(id) = parsed.filter(|_| *seq > self.checkpoint.sequence) {
            self.later_events.read_to(self.history, *seq).await?;
            let base = folded.map(|folded| decode::<M>(collection, folded)).transpose()?;
            self.later_events.document_at(id, base, *seq).map(|document| form::<M>(&document)).transpose()?
        } else {
            folded.map(|folded| folded.value(collection)).transpose()?
        };
        let stored = || live.stored.value(collection);
        let name = || id.clone().map_or_else(|| stored().map(|value| value["_id"].to_string()), Ok);
        let Some(expected) = expected else {
            self.builder.differs(name()?, DifferenceKind::Unexpected, Some(&live.text), None);
            return Ok(());
        };
        let text = canonical(expected.clone());
        if text == live.text {
            self.builder.equal(&text);
            return Ok(());
        }
        let required = expected["seq"].as_u64().unwrap_or(0);
        let kind = if *seq < required {
            DifferenceKind::Behind { seq: *seq, required }
        } else {
            DifferenceKind::Content(mismatches(&expected, &stored()?))
        };
        self.builder.differs(name()?, kind, Some(&live.text), Some(&text));
        Ok(())
    }

    /// Handles a folded document without a live one.
    fn missing(&mut self, folded: &StoredDocument) -> Result<(), ProjectionError> {
        let mut expected = Some(folded.value(&self.checkpoint.collection)?);
        let Some(id) = &folded.id else { return Ok(()) };
        if let Some((id, before)) = id.parse().ok().and_then(|id| Some((id, *self.quarantined.required.get(&id)?))) {
            let document = self.quarantined.events.document_at(id, None, before);
            expected = document.map(|document| form::<M>(&document)).transpose()?;
        }
        if let Some(expected) = expected {
            self.builder.differs(id.clone(), DifferenceKind::Missing, None, Some(&canonical(expected)));
        }
        Ok(())
    }
}

/// Events by the document that they change, to fold one document up to any sequence.
struct EventsByDocument<M: ReadModel> {
    events: BTreeMap<IdOf<M>, Vec<LogEntry>>,
    quarantine: Quarantine,
    position: u64,
}

impl<M: ReadModel> EventsByDocument<M> {
    const fn new(quarantine: Quarantine, position: u64) -> Self {
        Self { events: BTreeMap::new(), quarantine, position }
    }

    fn add(&mut self, entry: &LogEntry) -> Result<Vec<IdOf<M>>, ProjectionError> {
        if let LogEntry::Unreadable(unreadable) = entry {
            let added = self.quarantine.add(unreadable.clone());
            added.map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
        }
        let ids = entry.keys::<M>();
        for id in &ids {
            self.events.entry(*id).or_default().push(entry.clone());
        }
        Ok(ids)
    }

    /// Reads to the log's end, unless the log was read up to `seq`.
    async fn read_to(&mut self, history: &dyn History, seq: u64) -> Result<(), ProjectionError> {
        if seq <= self.position {
            return Ok(());
        }
        let end = history.end().await.map_err(ProjectionError::History)?;
        if end > self.position {
            let mut entries = history.read(M::KIND, self.position, end);
            while let Some(entry) = entries.try_next().await.map_err(ProjectionError::History)? {
                self.add(&entry)?;
            }
            self.position = end;
        }
        Ok(())
    }

    /// A document with its events up to `seq`.
    fn document_at(&self, id: IdOf<M>, base: Option<M::Document>, seq: u64) -> Option<M::Document> {
        let (mut folded, mut quarantine) = (Folded::<M>::from_documents(base), self.quarantine.clone());
        for entry in self.events.get(&id).into_iter().flatten().take_while(|entry| entry.sequence() <= seq) {
            // `add` has reported a full quarantine.
            let _ = folded.fold_entry(entry, &mut quarantine);
        }
        folded.get(id).cloned()
    }
}

/// The documents of aggregates that the checkpoint quarantines and this program does not, or from another event on.
struct QuarantinedDocuments<M: ReadModel> {
    events: EventsByDocument<M>,
    /// The sequence up to which each must be folded in spite of the quarantine.
    required: BTreeMap<IdOf<M>, u64>,
}

async fn quarantined_documents<M: ReadModel>(
    history: &dyn History,
    checkpoint: &Checkpoint,
    ours: &Quarantine,
) -> Result<QuarantinedDocuments<M>, ProjectionError> {
    let mut found = QuarantinedDocuments { events: EventsByDocument::new(ours.clone(), 0), required: BTreeMap::new() };
    for theirs in checkpoint.quarantine.entries() {
        if ours.get(&theirs.subject).is_some_and(|ours| ours.sequence == theirs.sequence) {
            continue;
        }
        let Ok(aggregate) = theirs.subject.parse::<AggregateId>() else { continue };
        let end = history.end().await.map_err(ProjectionError::History)?;
        let mut entries = history.read_one(aggregate, 0, end);
        while let Some(entry) = entries.try_next().await.map_err(ProjectionError::History)? {
            let before = theirs.sequence.saturating_sub(1).min(checkpoint.sequence);
            found.required.extend(found.events.add(&entry)?.into_iter().map(|id| (id, before)));
        }
    }
    Ok(found)
}

/// The result so far.
#[derive(Default)]
struct ComparisonBuilder {
    documents: usize,
    stored: DigestBuilder,
    /// `None` while it equals `stored`.
    expected: Option<DigestBuilder>,
    differences: Vec<Difference>,
}

impl ComparisonBuilder {
    fn equal(&mut self, text: &str) {
        self.documents += 1;
        self.stored.add(text);
        if let Some(expected) = &mut self.expected {
            expected.add(text);
        }
    }

    fn differs(&mut self, id: String, kind: DifferenceKind, stored: Option<&str>, expected: Option<&str>) {
        let both = self.expected.get_or_insert_with(|| self.stored.clone());
        expected.into_iter().for_each(|text| both.add(text));
        self.documents += usize::from(stored.is_some());
        stored.into_iter().for_each(|text| self.stored.add(text));
        self.differences.push(Difference { id, kind });
    }

    fn finish<M: ReadModel>(self, checkpoint: &Checkpoint) -> Comparison {
        let stored: Digest = self.stored.finish();
        Comparison {
            model: M::NAME,
            collection: checkpoint.collection.clone(),
            position: checkpoint.sequence,
            documents: self.documents,
            quarantined: checkpoint.quarantine.len(),
            stored,
            expected: self.expected.map_or(stored, DigestBuilder::finish),
            differences: self.differences,
        }
    }
}

fn form<M: ReadModel>(document: &M::Document) -> Result<Value, StoreError> {
    let bytes = encode::<M>(document).map_err(StoreError::Rejected)?;
    json(&bytes).map_err(StoreError::rejected)
}

fn decode<M: ReadModel>(collection: &CollectionName, folded: &StoredDocument) -> Result<M::Document, StoreError> {
    let refused = |source| malformed(collection.as_str(), &folded.bytes, source);
    json(&folded.bytes).and_then(serde_json::from_value).map_err(refused)
}
