//! The time limits of one connection, around its stream. Without them a client that sends or reads nothing keeps a
//! connection, its file and its memory for as long as it likes.
//!
//! Between the end of a request's head and the end of its response, only writes are limited here: how long the request
//! may take is a matter of its handler. Whoever reads from a WebSocket limits how long it may be silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use super::connection_slots::Permit;

/// How long a client may take for each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTimeouts {
    /// From the connection to the first byte, and from the first byte of a request's head to its last one.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Until the client takes more of a response.
    pub write: Duration,
}

impl Default for StreamTimeouts {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_secs(60), write: Duration::from_secs(30) }
    }
}

/// What the stream waits for while no request is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The first byte of the first head.
    First,
    /// The first byte of another head.
    Next,
    /// The rest of a head.
    Head,
}

/// A stream with time limits.
#[derive(Debug)]
pub struct TimedStream<S> {
    stream: S,
    timeouts: StreamTimeouts,
    activity: Arc<Activity>,
    /// The requests that had begun when `waiting` was set.
    begun: u64,
    waiting: Waiting,
    read_timer: Timer,
    write_timer: Timer,
    /// A WebSocket lives longer than the task that has answered its request.
    _permit: Permit,
}

impl<S> TimedStream<S> {
    /// A new connection.
    pub fn new(stream: S, timeouts: StreamTimeouts, activity: Arc<Activity>, permit: Permit) -> Self {
        let (read_timer, write_timer) = (Timer::default(), Timer::default());
        Self { stream, timeouts, activity, begun: 0, waiting: Waiting::First, read_timer, write_timer, _permit: permit }
    }

    /// Fails a write that the client has not taken for too long.
    fn limit_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer.stop();
            return written;
        }
        self.write_timer.poll(cx, self.timeouts.write).map(Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.activity.wake_at_end(cx.waker());
        let filled = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.activity.begun() != this.begun {
            (this.begun, this.waiting) = (this.activity.begun(), Waiting::Next);
            this.read_timer.stop();
        }
        if this.activity.is_active() || this.activity.is_upgraded() {
            return read;
        }
        if read.is_ready() {
            // A head that has begun keeps its deadline, however many bytes arrive.
            if this.waiting != Waiting::Head && buf.filled().len() > filled {
                this.waiting = Waiting::Head;
                this.read_timer.stop();
                this.read_timer.start(this.timeouts.head);
            }
            return read;
        }
        let limit = if this.waiting == Waiting::Next { this.timeouts.idle } else { this.timeouts.head };
        this.read_timer.poll(cx, limit).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.limit_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit_write(cx, shut_down)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.limit_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A deadline that may be set.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn stop(&mut self) {
        self.0 = None;
    }

    /// Sets the deadline unless it is set.
    fn start(&mut self, limit: Duration) -> &mut Pin<Box<Sleep>> {
        self.0.get_or_insert_with(|| Box::pin(sleep(limit)))
    }

    /// The error when the deadline has passed; sets it first if it is not.
    fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<io::Error> {
        ready!(self.start(limit).as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}
