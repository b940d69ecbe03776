//! What became of a command.

use dockhost_domain::idempotency::FirstRequest;
use dockhost_domain::ids::EventId;
use uuid::Uuid;

use super::CachedState;
use crate::common::error::Cause;
use crate::event_log::{AppendError, LogError};

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The aggregate's rules forbid it.
    #[error(transparent)]
    Rejected(R),
    /// The `Idempotency-Key` was used for another request.
    #[error("the key of the request was used for another one")]
    KeyReused,
    /// This replica is carrying out a request with this `Idempotency-Key`. Nothing was stored for this one.
    #[error("a request with this key is being carried out")]
    RequestInFlight,
    /// Every attempt had a sequence conflict, or too many commands for the aggregate wait. Nothing was stored.
    #[error("too many commands for one aggregate at once")]
    Busy,
    /// The log is full, or only its reserve is left and the command is not what that is for. Nothing was stored.
    #[error("the log has no room for this command")]
    Full,
    /// The broker can't be reached. Nothing was stored.
    #[error("the log is unavailable")]
    Unavailable(#[source] Cause),
    /// The broker did not answer in time: the event may or may not be stored.
    #[error("the outcome is unknown")]
    Unknown(#[source] Cause),
    /// The aggregate has an event that this binary can't read.
    #[error("the aggregate is frozen")]
    Frozen(#[source] Cause),
}

impl<R> ExecuteError<R> {
    /// The same with another type of rejection.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> ExecuteError<S> {
        self.rejection().map_or_else(|error| error, |rejection| ExecuteError::Rejected(change(rejection)))
    }

    /// Nothing if it is a rejection, which does not matter to the caller.
    ///
    /// # Errors
    /// Any other error.
    pub fn unless_rejected<S>(self) -> Result<(), ExecuteError<S>> {
        self.rejection().map(|_| ())
    }

    /// The rejection, if it is one.
    fn rejection<S>(self) -> Result<R, ExecuteError<S>> {
        match self {
            Self::Rejected(rejection) => Ok(rejection),
            Self::KeyReused => Err(ExecuteError::KeyReused),
            Self::RequestInFlight => Err(ExecuteError::RequestInFlight),
            Self::Busy => Err(ExecuteError::Busy),
            Self::Full => Err(ExecuteError::Full),
            Self::Unavailable(cause) => Err(ExecuteError::Unavailable(cause)),
            Self::Unknown(cause) => Err(ExecuteError::Unknown(cause)),
            Self::Frozen(cause) => Err(ExecuteError::Frozen(cause)),
        }
    }
}

impl<R> From<LogError> for ExecuteError<R> {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(cause) => Self::Unavailable(cause),
            frozen @ LogError::Frozen { .. } => Self::Frozen(Box::new(frozen)),
        }
    }
}

impl<R> From<AppendError> for ExecuteError<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::Busy,
            AppendError::InFlight => Self::Unknown(error.into()),
            AppendError::Full => Self::Full,
            AppendError::Unavailable(cause) => Self::Unavailable(cause),
            AppendError::Unknown(cause) => Self::Unknown(cause),
        }
    }
}

/// The result of a command.
pub struct Executed<A> {
    /// The id of the stored event; `None` for a no-op.
    pub stored: Option<EventId>,
    /// The request that was repeated, which decided nothing for that reason.
    pub repeated: Option<FirstRequest>,
    /// The state after it.
    pub current: CachedState<A>,
}

impl<A> Executed<A> {
    /// The id of the event that this request stored, or the one that it repeats.
    pub fn event(&self) -> Option<EventId> {
        self.stored.or(self.repeated.map(|first| first.event))
    }

    /// The id of what the request created: `new`, or if it repeats another, what that created.
    pub fn created<Id>(&self, new: Id, id: impl FnOnce(Uuid) -> Id) -> Id {
        self.repeated.and_then(|first| first.created).map_or(new, id)
    }
}
