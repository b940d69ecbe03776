//! Live documents beside those that the log says they should be, id by id.
//!
//! In: a checkpoint; the documents as of exactly its sequence, folded anew; and the live documents, read after that
//! checkpoint was. Out: every difference, and a digest of either side. Both are read as they lie in the database, in
//! order of their ids, a few pages at a time.
//!
//! Why nothing is missed and nothing is a false alarm although the live projector goes on: the checkpoint says that all
//! events up to it were in the documents before they were read. So a document that is folded up to the checkpoint or
//! less must be what the fold says, byte for byte, and one that isn't there is missing. One that is further was moved
//! since: it is compared with the fold *at its own `seq`*, for which the events after the checkpoint are read. What the
//! checkpoint lists as held back, and we can fold, is compared the same way: at its own `seq`, which must not be below
//! what came before the held event.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bson::RawDocumentBuf;
use dockhost_domain::subject::AggregateId;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::comparison::{Comparison, Difference, DifferenceKind};
use crate::digest::{Digest, DigestBuilder, canonical, mismatches};
use crate::history::{History, OnProgress, Progress, Stage};
use crate::model::{Document, Folded, IdOf, ReadModel};
use crate::projector::ProjectionError;
use crate::quarantine::{LogEntry, LogItem as _, Quarantine, keys};
use crate::rebuild_buffer::RebuildBuffer;
use crate::store::{Checkpoint, CollectionName, MongoStore, StoreError, encode, json, malformed};

/// Pages whose texts are made at once.
const PAGES_ENCODED_AHEAD: usize = 2;
/// Documents between two calls of `on_progress`.
const DOCUMENTS_PER_PROGRESS: usize = 1000;

/// A document as it is stored.
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

/// A live one, with its canonical text.
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
    let mut comparison = Comparer::<M> {
        history,
        checkpoint,
        later: EventsByDocument::new(buffer.quarantine().clone(), buffer.position()),
        quarantined: quarantined_documents(history, checkpoint, buffer.quarantine()).await?,
        found: ComparisonBuilder::default(),
    };
    let mut live = live(store, &checkpoint.collection);
    let mut made = buffer.documents().map_ok(StoredDocument::of);
    let (mut left, mut right) = (live.try_next().await?, made.try_next().await?);
    let mut compared = 0;
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            // All of ours have text for an id; a foreign one is passed by.
            (Some(live), Some(made)) => {
                live.stored.id.as_ref().map_or(Ordering::Less, |id| Some(id).cmp(&made.id.as_ref()))
            }
        };
        match (order, &left, &right) {
            (Ordering::Less, Some(live), _) => comparison.live(live, None).await?,
            (Ordering::Greater, _, Some(made)) => comparison.missing(made)?,
            (_, Some(live), made) => comparison.live(live, made.as_ref()).await?,
            (_, None, _) => {}
        }
        if order != Ordering::Greater {
            left = live.try_next().await?;
        }
        if order != Ordering::Less {
            right = made.try_next().await?;
            compared += 1;
            if compared % DOCUMENTS_PER_PROGRESS == 0 {
                report_progress::<M>(on_progress, compared, buffer.len());
            }
        }
    }
    report_progress::<M>(on_progress, buffer.len(), buffer.len());
    Ok(comparison.found.comparison::<M>(checkpoint))
}

fn report_progress<M: ReadModel>(on_progress: OnProgress<'_>, done: usize, total: usize) {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    on_progress(Progress { model: M::NAME, stage: Stage::Compare, done: count(done), total: count(total) });
}

/// The live documents; the texts are made in tasks of their own.
fn live(store: &MongoStore, collection: &CollectionName) -> BoxStream<'static, Result<LiveDocument, ProjectionError>> {
    let name = collection.clone();
    let texts = store.pages(collection).map(move |page| {
        let name = name.clone();
        async move {
            let page = page?;
            let texts = tokio::task::spawn_blocking(move || {
                let live = page.into_iter().map(StoredDocument::of).map(|stored| {
                    let text = canonical(&stored.value(&name)?);
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
    /// What came after the checkpoint, as far as it was needed.
    later: EventsByDocument<M>,
    quarantined: QuarantinedDocuments<M>,
    found: ComparisonBuilder,
}

impl<M: ReadModel> Comparer<'_, M> {
    /// A live document, and what was made under its id.
    async fn live(&mut self, live: &LiveDocument, made: Option<&StoredDocument>) -> Result<(), ProjectionError> {
        let collection = &self.checkpoint.collection;
        let StoredDocument { id, seq, bytes } = &live.stored;
        if *seq <= self.checkpoint.sequence && made.is_some_and(|made| made.bytes == *bytes) {
            self.found.equal(&live.text);
            return Ok(());
        }
        let parsed = id.as_ref().and_then(|id| id.parse::<IdOf<M>>().ok());
        let held = parsed.and_then(|id| self.quarantined.due.get(&id).map(|before| (id, *before)));
        let expected = if let Some((id, before)) = held {
            let due = self.quarantined.events.at(id, None, before);
            let at_seq = self.quarantined.events.at(id, None, *seq);
            // It lacks what was due.
            if due.as_ref().is_some_and(|due| due.seq() > *seq) { due } else { at_seq }.map(|d| form(&d)).transpose()?
        } else if let Some(id) = parsed.filter(|_| *seq > self.checkpoint.sequence) {
            self.later.reach(self.history, *seq).await?;
            let base = made.map(|made| decode::<M>(collection, made)).transpose()?;
            self.later.at(id, base, *seq).map(|document| form(&document)).transpose()?
        } else {
            made.map(|made| made.value(collection)).transpose()?
        };
        let stored = || live.stored.value(collection);
        let name = || id.clone().map_or_else(|| stored().map(|value| value["_id"].to_string()), Ok);
        let Some(expected) = expected else {
            self.found.differs(name()?, DifferenceKind::Unexpected, Some(&live.text), None);
            return Ok(());
        };
        let text = canonical(&expected);
        if text == live.text {
            self.found.equal(&text);
            return Ok(());
        }
        let due = expected["seq"].as_u64().unwrap_or(0);
        let kind = if *seq < due {
            DifferenceKind::Behind { seq: *seq, due }
        } else {
            DifferenceKind::Content(mismatches(&expected, &stored()?))
        };
        self.found.differs(name()?, kind, Some(&live.text), Some(&text));
        Ok(())
    }

    /// A document that isn't among the live ones.
    fn missing(&mut self, made: &StoredDocument) -> Result<(), ProjectionError> {
        let mut expected = Some(made.value(&self.checkpoint.collection)?);
        let Some(id) = &made.id else { return Ok(()) };
        if let Some((id, before)) = id.parse().ok().and_then(|id| Some((id, *self.quarantined.due.get(&id)?))) {
            expected = self.quarantined.events.at(id, None, before).map(|document| form(&document)).transpose()?;
        }
        if let Some(expected) = expected {
            self.found.differs(id.clone(), DifferenceKind::Missing, None, Some(&canonical(&expected)));
        }
        Ok(())
    }
}

/// Events by the document that they change, kept to fold one of them up to where it is stored.
struct EventsByDocument<M: ReadModel> {
    events: BTreeMap<IdOf<M>, Vec<LogEntry>>,
    quarantine: Quarantine,
    reached: u64,
}

impl<M: ReadModel> EventsByDocument<M> {
    const fn new(quarantine: Quarantine, reached: u64) -> Self {
        Self { events: BTreeMap::new(), quarantine, reached }
    }

    fn add(&mut self, entry: &LogEntry) -> Result<Vec<IdOf<M>>, ProjectionError> {
        if let Err(unreadable) = entry.event() {
            let held = self.quarantine.add(unreadable.clone());
            held.map_err(|_| ProjectionError::QuarantineFull { model: M::NAME })?;
        }
        let ids = keys::<M>(entry);
        for id in &ids {
            self.events.entry(*id).or_default().push(entry.clone());
        }
        Ok(ids)
    }

    /// Reads on to the log's end, if it was not read as far as `seq`.
    async fn reach(&mut self, history: &dyn History, seq: u64) -> Result<(), ProjectionError> {
        if seq <= self.reached {
            return Ok(());
        }
        let end = history.end().await.map_err(ProjectionError::History)?;
        if end > self.reached {
            let mut entries = history.read(M::KIND, self.reached, end);
            while let Some(entry) = entries.try_next().await.map_err(ProjectionError::History)? {
                self.add(&entry)?;
            }
            self.reached = end;
        }
        Ok(())
    }

    /// A document with its events up to `seq`.
    fn at(&self, id: IdOf<M>, base: Option<M::Document>, seq: u64) -> Option<M::Document> {
        let (mut folded, mut quarantine) = (Folded::<M>::from_documents(base), self.quarantine.clone());
        for entry in self.events.get(&id).into_iter().flatten().take_while(|entry| entry.sequence() <= seq) {
            // More than can be held is what `add` complains of.
            let _ = quarantine.fold(&mut folded, entry);
        }
        folded.get(id).cloned()
    }
}

/// Documents of aggregates that the checkpoint says are held back elsewhere than here.
struct QuarantinedDocuments<M: ReadModel> {
    events: EventsByDocument<M>,
    /// Up to where each must be folded all the same.
    due: BTreeMap<IdOf<M>, u64>,
}

async fn quarantined_documents<M: ReadModel>(
    history: &dyn History,
    checkpoint: &Checkpoint,
    ours: &Quarantine,
) -> Result<QuarantinedDocuments<M>, ProjectionError> {
    let mut found = QuarantinedDocuments { events: EventsByDocument::new(ours.clone(), 0), due: BTreeMap::new() };
    for theirs in checkpoint.quarantine.entries() {
        if ours.get(&theirs.subject).is_some_and(|ours| ours.sequence == theirs.sequence) {
            continue;
        }
        let Ok(aggregate) = theirs.subject.parse::<AggregateId>() else { continue };
        let end = history.end().await.map_err(ProjectionError::History)?;
        let mut entries = history.read_one(aggregate, 0, end);
        while let Some(entry) = entries.try_next().await.map_err(ProjectionError::History)? {
            let before = theirs.sequence.saturating_sub(1).min(checkpoint.sequence);
            found.due.extend(found.events.add(&entry)?.into_iter().map(|id| (id, before)));
        }
    }
    Ok(found)
}

/// What was found so far.
#[derive(Default)]
struct ComparisonBuilder {
    documents: usize,
    stored: DigestBuilder,
    /// None as long as it would be the same as `stored`.
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

    fn comparison<M: ReadModel>(self, checkpoint: &Checkpoint) -> Comparison {
        let stored: Digest = self.stored.finish();
        Comparison {
            model: M::NAME,
            collection: checkpoint.collection.clone(),
            position: checkpoint.sequence,
            fold_version: checkpoint.fold_version,
            documents: self.documents,
            quarantined: checkpoint.quarantine.len(),
            stored,
            expected: self.expected.map_or(stored, DigestBuilder::finish),
            differences: self.differences,
        }
    }
}

fn form(document: &impl Document) -> Result<Value, StoreError> {
    let bytes = encode(document).map_err(StoreError::Rejected)?;
    json(&bytes).map_err(StoreError::rejected)
}

fn decode<M: ReadModel>(collection: &CollectionName, made: &StoredDocument) -> Result<M::Document, StoreError> {
    let refused = |source| malformed(collection.as_str(), &made.bytes, source);
    json(&made.bytes).and_then(serde_json::from_value).map_err(refused)
}
