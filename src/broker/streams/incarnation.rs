//! Which of several streams of the same name this is: a stream that was lost is made again while servers run.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use tokio::time::{Duration, sleep};

use super::StreamError;

/// How often [`StreamIncarnation::until_replaced`] asks the broker.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A stream, and when it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamIncarnation {
    stream: &'static str,
    created_at: u64,
}

/// When a stream was created, by the last look at it; shared by those who tell agents.
#[derive(Debug, Default)]
pub struct LastSeen(AtomicU64);

impl LastSeen {
    /// Records a look. A node whose copy is broken may still describe an earlier stream.
    pub fn record(&self, info: &Info) {
        if let Some(created_at) = created_at(info) {
            self.0.fetch_max(created_at, Ordering::Relaxed);
        }
    }

    /// In Unix milliseconds; `None` before the first look.
    #[must_use]
    pub fn created_at(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|created_at| *created_at > 0)
    }
}

fn created_at(info: &Info) -> Option<u64> {
    u64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The stream was deleted or made again.
#[derive(Debug, thiserror::Error)]
#[error("stream {0} was made again")]
pub struct Replaced(&'static str);

impl StreamIncarnation {
    /// Asks the broker when the stream was created.
    ///
    /// # Errors
    /// [`StreamError`], also if the stream was created before 1970.
    pub async fn read(js: &Context, stream: &'static str) -> Result<Self, StreamError> {
        let found = js.get_stream(stream).await.map_err(|error| StreamError::from_get_error(stream, error))?;
        let created_at = created_at(found.cached_info()).ok_or_else(|| StreamError::Refused {
            stream: stream.to_owned(),
            cause: "it was created before 1970".into(),
        })?;
        Ok(Self { stream, created_at })
    }

    /// When the stream was created, in Unix milliseconds: larger for the later one of two.
    #[must_use]
    pub const fn created_at(self) -> u64 {
        self.created_at
    }

    /// Whether the broker still has this stream; true while it does not answer.
    pub async fn is_current(self, js: &Context) -> bool {
        match Self::read(js, self.stream).await {
            Ok(now) => now == self,
            Err(StreamError::Missing { .. }) => false,
            Err(_) => true,
        }
    }

    /// Waits until the stream is gone, or another one has its name.
    pub async fn until_replaced(self, js: &Context) -> Replaced {
        loop {
            sleep(CHECK_INTERVAL).await;
            if !self.is_current(js).await {
                return Replaced(self.stream);
            }
        }
    }

    /// Fails if the broker has another stream of this name by now.
    ///
    /// # Errors
    /// [`Replaced`].
    pub async fn check(self, js: &Context) -> Result<(), Replaced> {
        if self.is_current(js).await { Ok(()) } else { Err(Replaced(self.stream)) }
    }
}
