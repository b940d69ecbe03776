//! One reading of the log for several read models that are folded side by side.
//!
//! In: a log and the kinds of aggregate that are wanted. Out: a [`SharedScan`] for each, which is a port to the log's past like
//! any other. What the shared_scans read first, from the log's beginning on, they read together: the log is read once, whole,
//! and each seat gets what is of its kind. The broker takes several times as long to pick the events of one kind as to
//! hand out all of them, and for several kinds at once many times as long.
//!
//! The reading begins when every seat has asked for its part or was dropped, and goes as fast as the slowest reader
//! folds: what lies between is bounded. A seat's part ends with a word that it is complete; should the reading break off,
//! that is an error, for what was read so far must not pass for all there is. Whatever a seat reads later, it reads alone.

use std::sync::{Arc, Mutex, PoisonError};

use dockhost_domain::incarnation::Incarnation;
use dockhost_domain::subject::AggregateId;
use dockhost_projections::quarantine::LogItem;
use dockhost_projections::{History, LogEntry};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::history::LogHistory;
use super::{EventLog, Filter};
use crate::common::error::Cause;

/// Entries that are handed on at once, and such pieces that a reader may be behind.
const EVENTS_PER_PART: usize = 512;
const PARTS_BUFFERED: usize = 4;

/// What a reader gets.
enum Part {
    Entries(Vec<LogEntry>),
    /// That was all.
    Complete,
}

/// A reader's part of the reading.
struct Reader {
    kind: &'static str,
    to: u64,
    parts: mpsc::Sender<Part>,
    piece: Vec<LogEntry>,
}

/// One reader's place at the reading.
pub struct SharedScan {
    past: LogHistory,
    kind: &'static str,
    /// Until the seat has joined the reading.
    join: Mutex<Option<mpsc::UnboundedSender<Reader>>>,
    /// The reading ends when the last seat is gone.
    _reading: Arc<AbortOnDropHandle<()>>,
}

/// A seat for each of these kinds, in their order.
#[must_use]
pub fn shared_scans<const N: usize>(log: &Arc<dyn EventLog>, kinds: [&'static str; N]) -> [SharedScan; N] {
    let (join, joining) = mpsc::unbounded_channel();
    let reading = Arc::new(AbortOnDropHandle::new(tokio::spawn(read(LogHistory(Arc::clone(log)), joining))));
    kinds.map(|kind| SharedScan {
        past: LogHistory(Arc::clone(log)),
        kind,
        join: Mutex::new(Some(join.clone())),
        _reading: Arc::clone(&reading),
    })
}

impl History for SharedScan {
    fn incarnation(&self) -> Incarnation {
        self.past.incarnation()
    }

    fn end(&self) -> BoxFuture<'_, Result<u64, Cause>> {
        self.past.end()
    }

    fn read(&self, kind: &'static str, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        // Whatever is read first, the others need not wait for this seat any longer.
        let join = self.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(join) = join.filter(|_| after == 0 && kind == self.kind) else {
            return self.past.read(kind, after, to);
        };
        let (parts, received) = mpsc::channel(PARTS_BUFFERED);
        // Fails only if the reading has ended, and `received` says so.
        let _ = join.send(Reader { kind, to, parts, piece: Vec::new() });
        stream::unfold(Some(received), async |received| {
            let mut received = received?;
            match received.recv().await {
                Some(Part::Entries(entries)) => Some((Ok(entries), Some(received))),
                Some(Part::Complete) => None,
                None => Some((Err(Cause::from("the reading of the log broke off")), None)),
            }
        })
        .flat_map(|part| match part {
            Ok(entries) => stream::iter(entries).map(Ok).left_stream(),
            Err(cause) => stream::iter([Err(cause)]).right_stream(),
        })
        .boxed()
    }

    fn read_one(&self, aggregate: AggregateId, after: u64, to: u64) -> BoxStream<'_, Result<LogEntry, Cause>> {
        self.past.read_one(aggregate, after, to)
    }
}

/// Reads the log once for all who join.
async fn read(past: LogHistory, mut joining: mpsc::UnboundedReceiver<Reader>) {
    let mut readers = Vec::new();
    while let Some(reader) = joining.recv().await {
        readers.push(reader);
    }
    let to = readers.iter().map(|reader| reader.to).max().unwrap_or(0);
    let mut pieces = past.range(Filter::All, 0, to).ready_chunks(EVENTS_PER_PART);
    while !readers.is_empty()
        && let Some(piece) = pieces.next().await
    {
        let mut reached = 0;
        for entry in piece {
            // Going on would be a hole: who waits is told that the reading broke off.
            let Ok(entry) = entry else { return };
            reached = entry.sequence();
            if let Some(reader) = readers.iter_mut().find(|reader| reader.wants(&entry)) {
                reader.piece.push(entry);
            }
        }
        let mut left = Vec::with_capacity(readers.len());
        for mut reader in readers {
            if reader.hand_on().await && (reached < reader.to || reader.complete().await) {
                left.push(reader);
            }
        }
        readers = left;
    }
    for reader in readers {
        reader.complete().await;
    }
}

impl Reader {
    fn wants(&self, entry: &LogEntry) -> bool {
        let mine = match entry.event() {
            Ok(recorded) => recorded.envelope.aggregate.kind() == self.kind,
            Err(unreadable) => Filter::Kind(self.kind).selects(&unreadable.subject),
        };
        mine && entry.sequence() <= self.to
    }

    /// False if nobody listens any more.
    async fn hand_on(&mut self) -> bool {
        self.piece.is_empty() || self.parts.send(Part::Entries(std::mem::take(&mut self.piece))).await.is_ok()
    }

    /// Says so; who is gone needs nothing. There is nothing more to be read for it: always false.
    async fn complete(&self) -> bool {
        let _ = self.parts.send(Part::Complete).await;
        false
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use futures::future::{join, join3};

    use super::super::memory::MemoryLog;
    use super::*;

    const MANY: u64 = 3 * (EVENTS_PER_PART * (PARTS_BUFFERED + 2)) as u64;

    /// A log of all kinds, and of one whose name begins like another's.
    fn log() -> (Arc<MemoryLog>, Arc<dyn EventLog>) {
        let log = Arc::new(MemoryLog::default());
        for n in 0..MANY {
            let kind = ["account", "session", "claim", "accountant"][usize::try_from(n % 4).unwrap()];
            log.put_unreadable(&format!("dockhost.event.{kind}.{n}"), "nonsense");
        }
        (Arc::clone(&log), log)
    }

    async fn all(history: &dyn History, kind: &'static str, after: u64, to: u64) -> Result<Vec<u64>, Cause> {
        history.read(kind, after, to).map_ok(|entry| entry.sequence()).try_collect().await
    }

    async fn alone(log: &Arc<dyn EventLog>, kind: &'static str, after: u64, to: u64) -> Vec<u64> {
        all(&LogHistory(Arc::clone(log)), kind, after, to).await.unwrap()
    }

    #[tokio::test]
    async fn each_gets_what_it_would_have_read_alone() {
        let (_, log) = log();
        let [a, b, c] = shared_scans(&log, ["account", "session", "backend"]);
        let read = join3(all(&a, "account", 0, MANY), all(&b, "session", 0, MANY / 2 + 1), all(&c, "backend", 0, MANY));
        let (accounts, sessions, backends) = read.await;
        assert_eq!(accounts.unwrap(), alone(&log, "account", 0, MANY).await);
        assert_eq!(sessions.unwrap(), alone(&log, "session", 0, MANY / 2 + 1).await);
        assert_eq!(backends.unwrap(), [0; 0]);
        // What is read later is read alone, and so is another kind.
        assert_eq!(all(&b, "session", MANY / 2, MANY).await.unwrap(), alone(&log, "session", MANY / 2, MANY).await);
        assert_eq!(all(&b, "claim", 0, MANY).await.unwrap(), alone(&log, "claim", 0, MANY).await);
    }

    #[tokio::test]
    async fn who_does_not_read_or_stops_holds_up_nobody() {
        let (_, log) = log();
        let [a, b, c] = shared_scans(&log, ["account", "session", "claim"]);
        drop(c);
        let stops = async {
            let mut entries = b.read("session", 0, MANY);
            assert_eq!(entries.try_next().await.unwrap().map(|entry| entry.sequence()), Some(2));
        };
        let (accounts, ()) = join(all(&a, "account", 0, MANY), stops).await;
        assert_eq!(accounts.unwrap(), alone(&log, "account", 0, MANY).await);
    }

    /// The clock moves only when nobody has anything to do, so the pause is over when the quick one really waits.
    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_is_waited_for() {
        let (_, log) = log();
        let [a, b] = shared_scans(&log, ["account", "session"]);
        let (mut quick, mut slow) = (a.read("account", 0, MANY), b.read("session", 0, MANY));
        let mut read = 0;
        while let Ok(Some(entry)) = tokio::time::timeout(std::time::Duration::from_millis(200), quick.next()).await {
            read = entry.unwrap().sequence();
        }
        assert!(read > 0 && read < MANY / 2, "it ran ahead to {read} of {MANY}");
        let (rest, sessions) = join(quick.count(), async {
            let mut count = 0;
            while slow.try_next().await.unwrap().is_some() {
                count += 1;
            }
            count
        })
        .await;
        assert!(rest > 0);
        assert_eq!(sessions, MANY / 4);
    }

    #[tokio::test]
    async fn what_breaks_off_does_not_look_whole() {
        let (memory, log) = log();
        memory.set_unavailable(true);
        let [a] = shared_scans(&log, ["account"]);
        let read = all(&a, "account", 0, MANY);
        let broken = async {
            tokio::task::yield_now().await;
            a._reading.abort();
        };
        let (read, ()) = join(read, broken).await;
        assert!(read.unwrap_err().to_string().contains("broke off"));
    }
}
