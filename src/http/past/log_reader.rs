//! Reads a part of the log for one request.
//!
//! A request may have to read all events of a user, and each read has a consumer at the broker. So a replica does few of
//! them at once, and one per caller; the others wait, at most until the request's time limit.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dockhost_domain::ids::PrincipalId;
use dockhost_projections::LogEntry;
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::auth::shares::{Place, Shares};
use crate::event_log::history::LogHistory;
use crate::event_log::{EventLog, Filter, LogError};
use crate::http::response::{ApiError, Code};

/// Reads at once on one replica. Each decodes on up to all cores.
const MAX_READS: usize = 2;
/// Reads of one caller at once.
const MAX_READS_OF_CALLER: usize = 1;
/// A read fails when nothing arrived for this long.
const MAX_STALL: Duration = Duration::from_secs(5);

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The reads of one replica.
pub struct LogReader {
    places: Semaphore,
    shares: Shares<PrincipalId>,
}

impl Default for LogReader {
    fn default() -> Self {
        Self { places: Semaphore::new(MAX_READS), shares: Shares::new(MAX_READS_OF_CALLER) }
    }
}

/// The right to read; ends on drop.
pub struct ReadPermit<'a> {
    _share: Place,
    _place: SemaphorePermit<'a>,
}

impl LogReader {
    /// Waits until this caller may read.
    ///
    /// # Errors
    /// `rate_limited` if another read of this caller takes too long.
    pub async fn permit(&self, caller: impl Into<PrincipalId>) -> Result<ReadPermit<'_>, ApiError> {
        let share = self.shares.wait(caller.into()).await.ok_or_else(|| {
            let message = "another request of yours still reads the log; wait for its answer";
            ApiError::new(Code::RateLimited, message).retry_after(RETRY_AFTER)
        })?;
        let place = self.places.acquire().await.map_err(|closed| LogError::Unavailable(closed.into()))?;
        Ok(ReadPermit { _share: share, _place: place })
    }
}

impl ReadPermit<'_> {
    /// Shows the selected entries with `after < sequence <= to`, one after the other, until `visit` has seen enough.
    ///
    /// # Errors
    /// `broker_unavailable`.
    pub async fn read(
        &self,
        log: &Arc<dyn EventLog>,
        filter: Filter,
        after: u64,
        to: u64,
        mut visit: impl FnMut(&LogEntry) -> ControlFlow<()> + Send,
    ) -> Result<(), ApiError> {
        let mut entries = LogHistory(Arc::clone(log)).range(filter, after, to);
        loop {
            let next = tokio::time::timeout(MAX_STALL, entries.next()).await;
            let next = next.map_err(|elapsed| LogError::Unavailable(elapsed.into()))?;
            match next.transpose().map_err(LogError::Unavailable)? {
                Some(entry) if visit(&entry).is_continue() => {}
                Some(_) | None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::UserId;
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;
    use crate::event_log::memory::MemoryLog;

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn log_reader_permits_one_read_per_caller_and_two_in_all() {
        let reader = LogReader::default();
        let first = reader.permit(user(1)).await.unwrap();
        assert!(reader.permit(user(1)).now_or_never().is_none(), "a second read of the same caller");
        let _second = reader.permit(user(2)).await.unwrap();
        assert!(reader.permit(user(3)).now_or_never().is_none(), "a third read");
        drop(first);
        assert!(reader.permit(user(1)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn log_reader_refuses_a_caller_whose_other_read_does_not_end() {
        let reader = LogReader::default();
        let _permit = reader.permit(user(1)).await.unwrap();
        assert_eq!(reader.permit(user(1)).await.err().map(|error| error.code()), Some(Code::RateLimited));
    }

    #[tokio::test(start_paused = true)]
    async fn log_reader_without_the_log_fails() {
        let (reader, log) = (LogReader::default(), Arc::new(MemoryLog::default()));
        log.set_unavailable(true);
        let log: Arc<dyn EventLog> = log;
        let permit = reader.permit(user(1)).await.unwrap();
        let read = permit.read(&log, Filter::All, 0, 7, |_| ControlFlow::Continue(()));
        assert_eq!(read.await.unwrap_err().code(), Code::BrokerUnavailable);
    }
}
