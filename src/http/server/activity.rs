//! Whether a connection has a request in flight: from the end of its head until its response is written.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use axum::body::{Body, Bytes, HttpBody};
use futures::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};

/// The requests of one connection, which HTTP/1 answers one after the other.
#[derive(Debug, Default)]
pub struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    is_upgraded: AtomicBool,
    reader: AtomicWaker,
}

impl Activity {
    /// The number of requests begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether a request is in flight.
    pub fn is_active(&self) -> bool {
        self.begun() > self.ended.load(Ordering::Acquire)
    }

    /// Records that the connection is a WebSocket from now on.
    pub fn upgrade(&self) {
        self.is_upgraded.store(true, Ordering::Release);
    }

    /// Whether the connection is a WebSocket.
    pub fn is_upgraded(&self) -> bool {
        self.is_upgraded.load(Ordering::Acquire)
    }

    /// Wakes this task at the end of the next request: the time limit of an idle connection begins then.
    pub fn wake_at_end(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    /// Begins a request, which ends when the value is dropped.
    pub fn begin(self: &Arc<Self>) -> Active {
        self.begun.fetch_add(1, Ordering::AcqRel);
        Active(Arc::clone(self))
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct Active(Arc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
        self.0.reader.wake();
    }
}

/// A response's body; the request ends with it.
#[derive(Debug)]
pub struct ActiveBody {
    body: Body,
    _active: Active,
}

impl ActiveBody {
    /// The body of this request's response.
    pub const fn new(body: Body, active: Active) -> Self {
        Self { body, _active: active }
    }
}

impl HttpBody for ActiveBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
