//! Event streams: clients are told of changes as they happen, over one long answer.
//!
//! A stream begins at a position: now, or where an earlier one ended, on whichever replica. What the client missed comes
//! from the replica's [`Feed`](crate::replica::feed::Feed), or from the log if that is longer ago; then the stream is live.
//!
//! - `begin`: where a stream begins. `access`: for how long its caller may read it.
//! - `stream`: the task of one stream. `view`: what an entry of the log is for its reader.
//! - `answer`: the stream as server-sent events, or as JSON lines. `log_page`: what is too old for the feed.
//! - `outgoing`: the same messages for webhooks.

mod access;
mod answer;
mod begin;
mod log_page;
mod outgoing;
mod stream;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use dockhost_domain::ids::PrincipalId;
use tokio::sync::mpsc::Receiver;

use super::app::App;
use super::past::LogReader;
use super::response::{ApiError, Code};
use crate::common::slots::{NoSlot, Slot, Slots};

pub use access::Caller;
pub use answer::{Format, Item, JSON_LINES, StreamLine};
pub use begin::{Begin, LAST_EVENT_ID, LastEventId};
pub use outgoing::WebhookMessages;
pub use view::{Change, Message, Reader};

/// When a client that has too many streams may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many event streams there may be at once on one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxStreams {
    /// In all.
    pub total: usize,
    /// Of one user or backend.
    pub per_user: usize,
}

/// The event streams of one replica.
pub struct EventStreams {
    slots: Arc<Slots<PrincipalId>>,
    /// Reads what is too old for the feed.
    log_reader: LogReader,
}

/// What a stream shows, to whom, and from where on.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// The caller.
    pub caller: Caller,
    /// What the caller may read.
    pub reader: Reader,
    /// Where the stream begins.
    pub begin: Begin,
}

impl EventStreams {
    /// No streams yet.
    pub fn new(max: MaxStreams) -> Self {
        Self { slots: Slots::new(max.total, max.per_user), log_reader: LogReader::default() }
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        self.slots.taken()
    }

    fn admit(&self, caller: Caller) -> Result<Slot<PrincipalId>, ApiError> {
        self.slots.take(caller.principal(), false).map_err(|full| match full {
            NoSlot::Owner => {
                let message = "you have as many event streams as you may have; end one of them";
                ApiError::new(Code::TooManyStreams, message).retry_after(RETRY_AFTER)
            }
            NoSlot::Total => {
                let message = "this server has as many event streams as it may have; try again";
                ApiError::new(Code::NoFreeStream, message).retry_after(RETRY_AFTER)
            }
        })
    }
}

/// Opens a stream as an answer.
///
/// # Errors
/// `too_many_streams`, `no_free_stream`.
pub fn open(app: &Arc<App>, request: StreamRequest, format: Format) -> Result<Response, ApiError> {
    Ok(answer::answer(watch(app, request)?, format))
}

/// Opens a stream; returns what it sends. It ends when the receiver is dropped.
///
/// # Errors
/// `too_many_streams`, `no_free_stream`.
pub fn watch(app: &Arc<App>, request: StreamRequest) -> Result<Receiver<Item>, ApiError> {
    let slot = app.streams.admit(request.caller)?;
    Ok(stream::start(app, request, slot))
}
