//! Which of several streams of the same name this is: a stream that was lost is made again while servers run.

use async_nats::jetstream::Context;
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
        let millis = found.cached_info().created.unix_timestamp_nanos() / 1_000_000;
        let created_at = u64::try_from(millis)
            .map_err(|error| StreamError::Refused { stream: stream.to_owned(), cause: error.into() })?;
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
