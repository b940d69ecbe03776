//! Messages of agents that were dropped, by reason: counted by backend, and logged rarely.
//!
//! Agents are not trusted, so the log has nothing of a message but what the reason says (for a malformed one its length
//! and the kind of its error), and at most one line per backend and reason in [`LOG_INTERVAL`], with the number of messages
//! since the last one.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dockhost_domain::ids::BackendId;
use dockhost_domain::reported::Malformed;
use dockhost_domain::timestamp::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::common::clock;

/// The shortest time between two lines about one backend.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The most backends that are counted. Beyond that, the one whose last message is oldest is forgotten.
const MAX_BACKENDS: usize = 4096;

/// The kind of a message, by its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A heartbeat.
    Heartbeat,
    /// A report.
    Report,
    /// A request: hello or confirm.
    Request,
}

impl MessageKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Report => "report",
            Self::Request => "request",
        }
    }
}

/// The dropped messages of one backend since this replica started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppedCount {
    /// Heartbeats.
    pub heartbeats: u64,
    /// Reports. Only the leader reads reports.
    pub reports: u64,
    /// Requests: hellos and confirms.
    pub requests: u64,
    /// When the last one was dropped.
    pub last_at: Timestamp,
}

/// Why messages are dropped; the text of one is for the log.
pub trait Reason: Copy + Display {
    /// What a line of the log says.
    const LINE: &'static str;
}

impl Reason for Malformed {
    const LINE: &'static str = "dropped malformed messages of a backend";
}

/// The sender has a backend's key, but another agent holds the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another agent with the same API key is connected")]
pub struct OtherAgent;

impl Reason for OtherAgent {
    const LINE: &'static str = "dropped messages of a second agent of a backend";
}

/// What one line of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line<R> {
    backend: BackendId,
    /// The last dropped message.
    kind: MessageKind,
    reason: R,
    /// Dropped messages since the last line.
    count: u64,
}

/// One backend's entry.
#[derive(Debug)]
struct Entry<R> {
    count: DroppedCount,
    last: (MessageKind, R),
    last_dropped: Instant,
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl<R: Reason> Entry<R> {
    /// The line about what is not logged yet, if the last line is long enough ago.
    fn due(&mut self, backend: BackendId, now: Instant) -> Option<Line<R>> {
        let waits = self.last_logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL);
        if self.unlogged == 0 || waits {
            return None;
        }
        self.last_logged = Some(now);
        let (kind, reason) = self.last;
        Some(Line { backend, kind, reason, count: std::mem::take(&mut self.unlogged) })
    }
}

/// The counts, without a clock or a log.
#[derive(Debug)]
struct Ledger<R>(BTreeMap<BackendId, Entry<R>>);

impl<R> Default for Ledger<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Reason> Ledger<R> {
    fn record(
        &mut self,
        backend: BackendId,
        kind: MessageKind,
        reason: R,
        (now, at): (Instant, Timestamp),
    ) -> Option<Line<R>> {
        if self.0.len() >= MAX_BACKENDS && !self.0.contains_key(&backend) {
            let oldest = self.0.iter().min_by_key(|(_, entry)| entry.last_dropped).map(|(backend, _)| *backend);
            oldest.and_then(|backend| self.0.remove(&backend));
        }
        let entry = self.0.entry(backend).or_insert_with(|| Entry {
            count: DroppedCount { heartbeats: 0, reports: 0, requests: 0, last_at: at },
            last: (kind, reason),
            last_dropped: now,
            last_logged: None,
            unlogged: 0,
        });
        let number = match kind {
            MessageKind::Heartbeat => &mut entry.count.heartbeats,
            MessageKind::Report => &mut entry.count.reports,
            MessageKind::Request => &mut entry.count.requests,
        };
        *number += 1;
        entry.count.last_at = at;
        (entry.last, entry.last_dropped) = ((kind, reason), now);
        entry.unlogged += 1;
        entry.due(backend, now)
    }

    /// The lines that are due although no further message arrived.
    fn due(&mut self, now: Instant) -> Vec<Line<R>> {
        self.0.iter_mut().filter_map(|(backend, entry)| entry.due(*backend, now)).collect()
    }
}

/// The messages of all backends that this replica has dropped for one reason.
#[derive(Debug)]
pub struct DroppedMessages<R>(Mutex<Ledger<R>>);

impl<R> Default for DroppedMessages<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R: Reason> DroppedMessages<R> {
    fn ledger(&self) -> MutexGuard<'_, Ledger<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message that was dropped, and logs it unless there was a line about this backend shortly before.
    pub fn record(&self, backend: BackendId, kind: MessageKind, reason: R) {
        let line = self.ledger().record(backend, kind, reason, (Instant::now(), clock::now()));
        line.iter().for_each(log);
    }

    /// The dropped messages of one backend; `None` if there are none.
    pub fn of(&self, backend: BackendId) -> Option<DroppedCount> {
        self.ledger().0.get(&backend).map(|entry| entry.count)
    }

    /// Logs the rest of a flood that has ended, until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(tokio::time::sleep(LOG_INTERVAL)).await.is_some() {
            let lines = self.ledger().due(Instant::now());
            lines.iter().for_each(log);
        }
    }
}

fn log<R: Reason>(Line { backend, kind, reason, count }: &Line<R>) {
    tracing::warn!(%backend, last = kind.name(), error = %reason, count, "{}", R::LINE);
}

#[cfg(test)]
mod tests {
    use dockhost_domain::reported::MalformedKind;
    use uuid::Uuid;

    use super::*;

    const MALFORMED: Malformed = Malformed { kind: MalformedKind::Value, length: 60_000 };

    fn backend(n: usize) -> BackendId {
        BackendId::from_uuid(Uuid::from_u128(n as u128))
    }

    #[test]
    fn ledger_flood_yields_one_line_per_backend_and_interval() {
        let (mut ledger, start) = (Ledger::<Malformed>::default(), Instant::now());
        let mut lines = Vec::new();
        for millis in 0..25_000 {
            let now = start + Duration::from_millis(millis);
            let at = Timestamp::from_millis(millis.try_into().unwrap());
            let kind = if millis % 2 == 0 { MessageKind::Report } else { MessageKind::Heartbeat };
            lines.extend(ledger.record(backend(1), kind, MALFORMED, (now, at)));
            if millis == 500 {
                lines.extend(ledger.record(backend(2), kind, MALFORMED, (now, at)));
            }
        }
        let counts =
            |lines: &[Line<Malformed>]| lines.iter().map(|line| (line.backend, line.count)).collect::<Vec<_>>();
        assert_eq!(counts(&lines), [(backend(1), 1), (backend(2), 1), (backend(1), 10_000), (backend(1), 10_000)]);
        assert_eq!(counts(&ledger.due(start + Duration::from_secs(29))), [], "not yet");
        assert_eq!(counts(&ledger.due(start + Duration::from_secs(30))), [(backend(1), 4_999)]);
        assert_eq!(counts(&ledger.due(start + Duration::from_secs(60))), [], "logged already");
        let count = ledger.0[&backend(1)].count;
        assert_eq!((count.reports, count.heartbeats, count.requests), (12_500, 12_500, 0));
        assert_eq!(count.last_at, Timestamp::from_millis(24_999));
    }

    #[test]
    fn ledger_full_forgets_the_backend_whose_last_message_is_oldest() {
        let (mut ledger, start) = (Ledger::<Malformed>::default(), Instant::now());
        let mut record = |n: usize, after: usize| {
            let now = start + Duration::from_millis(after as u64);
            ledger.record(backend(n), MessageKind::Request, MALFORMED, (now, Timestamp::from_millis(0)));
            ledger.0.keys().copied().collect::<Vec<_>>()
        };
        for n in 0..MAX_BACKENDS {
            record(n, n);
        }
        record(0, MAX_BACKENDS);
        let known = record(MAX_BACKENDS, MAX_BACKENDS + 1);
        assert_eq!(known.len(), MAX_BACKENDS);
        assert!(known.contains(&backend(0)) && !known.contains(&backend(1)) && known.contains(&backend(MAX_BACKENDS)));
    }
}
