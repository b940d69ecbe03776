//! The task of one stream: first what the client missed, then what happens.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dockhost_domain::ids::PrincipalId;
use dockhost_projections::LogEntry;
use futures::future::pending;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::StreamRequest;
use super::access::{self, AccessEnd, Caller};
use super::answer::Item;
use super::begin::Begin;
use super::log_page;
use super::view::{Message, Reader, messages};
use crate::common::slots::Slot;
use crate::http::app::App;
use crate::http::response::ApiError;
use crate::replica::feed::{Feed, Next, Subscription};

/// How often a stream sends something while nothing happens; proxies end connections that are silent for longer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// After this long without an entry, the position of a keep-alive is that of the feed.
const QUIET: Duration = Duration::from_secs(5);
/// How long clients wait before they connect again, in milliseconds. Those of one replica don't all do so at once.
const RETRY_MS: std::ops::Range<u64> = 500..2500;
/// What may wait for a client beyond what its connection takes. Whoever is slower is told that it misses something.
const ITEMS: usize = 16;
/// Entries that are shown at once.
const BATCH: usize = 64;
/// Entries that are taken from the log or the ring at once.
const PAGE: usize = 1024;
/// How long a position may be ahead of this replica, which then has not heard of it yet.
const MAX_AHEAD: Duration = Duration::from_secs(5);
/// How long the last message waits for a slow client.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a stream ends before its client wants that; its last message says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The replica shuts down: another one goes on after the last id.
    Shutdown,
    /// The session has ended, or its caller may not read this any more.
    Unauthorized,
    /// The log or the read models can't be read here: try again, on this replica or another one.
    Unavailable,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a client has to fetch again what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// It was too slow, or the read models were too far behind: some events are left out.
    Lagged,
    /// Its position is in another log, which was replaced.
    OtherLog,
    /// The log does not have its position.
    UnknownPosition,
}

impl Reset {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lagged => "lagged",
            Self::OtherLog => "other-log",
            Self::UnknownPosition => "unknown-position",
        }
    }
}

/// One stream.
struct Stream {
    app: Arc<App>,
    caller: Caller,
    reader: Reader,
    out: mpsc::Sender<Item>,
    /// The client was sent all of its entries up to here; 0 before the first.
    sent: AtomicU64,
}

/// Starts a stream; returns what it sends.
pub fn start(app: &Arc<App>, request: StreamRequest, slot: Slot<PrincipalId>) -> mpsc::Receiver<Item> {
    let StreamRequest { caller, reader, begin } = request;
    let (out, items) = mpsc::channel(ITEMS);
    let stream = Stream { app: Arc::clone(app), caller, reader, out, sent: AtomicU64::new(0) };
    tokio::spawn(async move {
        let _slot = slot;
        stream.run(begin).await;
    });
    items
}

impl Stream {
    async fn run(&self, begin: Begin) {
        let end = tokio::select! {
            () = self.out.closed() => return,
            () = self.app.stages.draining.cancelled() => End::Shutdown,
            ended = access::end(&self.app, self.caller) => match ended {
                AccessEnd::Unauthorized => End::Unauthorized,
                AccessEnd::Unknown => End::Unavailable,
            },
            Err(error) = self.follow(begin) => {
                tracing::debug!(code = error.code().as_str(), message = error.message(), "event stream ended");
                End::Unavailable
            }
            () = self.keep_alive() => return,
        };
        let last = self.send_message(None, "end", json!({ "reason": end.as_str() }));
        let _ = timeout(GOODBYE_TIMEOUT, last).await;
    }

    fn feed(&self) -> &Arc<Feed> {
        self.app.follower.feed()
    }

    /// Sends an item. Without a receiver it waits for ever: the stream ends elsewhere.
    async fn send(&self, item: Item) {
        if self.out.send(item).await.is_err() {
            pending::<()>().await;
        }
    }

    async fn send_message(&self, sequence: Option<u64>, name: &str, data: Value) {
        let id = sequence.map(|sequence| self.app.position(sequence));
        self.send(Item::Message(Message { id, name: name.to_owned(), data })).await;
    }

    /// Tells the client that it has everything up to this sequence.
    fn sent(&self, sequence: u64) {
        self.sent.fetch_max(sequence, Ordering::AcqRel);
    }

    async fn keep_alive(&self) {
        loop {
            sleep(KEEP_ALIVE_INTERVAL).await;
            let sent = self.sent.load(Ordering::Acquire);
            let position = (sent > 0).then(|| self.app.position(sent));
            self.send(Item::KeepAlive(position)).await;
        }
    }

    /// Sends what happens after the beginning.
    async fn follow(&self, begin: Begin) -> Result<Infallible, ApiError> {
        self.send(Item::Retry(Duration::from_millis(rand::random_range(RETRY_MS)))).await;
        let mut position = match begin {
            Begin::Now => self.feed().position(),
            Begin::OtherLog => self.reset(Reset::OtherLog).await,
            Begin::After(sequence) => match timeout(MAX_AHEAD, self.app.follower.wait_until_applied(sequence)).await {
                Ok(()) => sequence,
                Err(_) => self.reset(Reset::UnknownPosition).await,
            },
        };
        let mut is_ready = false;
        loop {
            match self.feed().next(self.reader.audience(), position, PAGE) {
                Next::InLog(to) => position = self.read_log(position, to).await?,
                Next::Page(entries, to) => position = self.show(&entries, to).await?,
                Next::Live(entries, to, mut subscription) => {
                    position = self.show(&entries, to).await?;
                    if !is_ready {
                        self.send_message(Some(position), "ready", json!({})).await;
                        is_ready = true;
                    }
                    self.live(&mut subscription, position).await?;
                    position = self.reset(Reset::Lagged).await;
                }
            }
        }
    }

    /// Sends entries as they are released, until the client is too slow.
    async fn live(&self, subscription: &mut Subscription, mut position: u64) -> Result<(), ApiError> {
        let mut entries = Vec::new();
        loop {
            entries.clear();
            match timeout(QUIET, subscription.wait(&mut entries, BATCH)).await {
                Ok(()) => {
                    let Some(last) = entries.last().map(LogEntry::sequence) else { return Ok(()) };
                    // The client had these from another replica, which was ahead of this one.
                    entries.retain(|entry| entry.sequence() > position);
                    position = self.show(&entries, last.max(position)).await?;
                }
                Err(_) => {
                    if let Some(quiet) = subscription.position() {
                        self.sent(quiet);
                    }
                }
            }
        }
    }

    /// Sends a page of what the log has between two positions; returns the position after it.
    async fn read_log(&self, after: u64, to: u64) -> Result<u64, ApiError> {
        let (log_reader, caller) = (&self.app.streams.log_reader, self.caller.principal());
        let (page, position) = log_page::read(&self.app, log_reader, caller, &self.reader, (after, to), PAGE).await?;
        self.show(&page, position).await
    }

    /// Sends the messages about entries, which are all of the audience's up to a position; returns that.
    async fn show(&self, entries: &[LogEntry], position: u64) -> Result<u64, ApiError> {
        for batch in entries.chunks(BATCH) {
            for (_, message) in messages(&self.app, &self.reader, batch).await? {
                self.send(Item::Message(message)).await;
            }
            self.sent(batch.last().map_or(0, LogEntry::sequence));
        }
        self.sent(position);
        Ok(position)
    }

    /// Tells the client to fetch again what it shows; returns the position from which on it is told of changes.
    async fn reset(&self, reset: Reset) -> u64 {
        let position = self.feed().position();
        self.send_message(Some(position), "reset", json!({ "reason": reset.as_str() })).await;
        self.sent(position);
        position
    }
}
