//! Requests with an `Idempotency-Key`: whether a command repeats one, and which of them this replica is carrying out.
//!
//! A command whose request has changed the aggregate before decides nothing. That is found in the state that it is decided on,
//! so of any number of repeats, on any replicas, one stores an event: the others meet it as a conflict, and find it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::envelope::Origin;
use dockhost_domain::idempotency::{FirstRequest, Repeat, RequestHash};
use dockhost_domain::subject::AggregateId;

use super::{CachedAggregate, ExecuteError, Executor};

/// The requests that this replica is carrying out, by the aggregates that they may change.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestsInFlight(Arc<Mutex<HashSet<(AggregateId, RequestHash)>>>);

/// A request is being carried out until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    all: RequestsInFlight,
    this: (AggregateId, RequestHash),
}

impl RequestsInFlight {
    /// Begins a request; `None` if it has no key.
    ///
    /// # Errors
    /// [`ExecuteError::RequestInFlight`].
    pub fn begin<R>(&self, aggregate: AggregateId, origin: &Origin) -> Result<Option<InFlight>, ExecuteError<R>> {
        let Some(request) = &origin.request else { return Ok(None) };
        let this = (aggregate, request.key);
        if self.set().insert(this) {
            Ok(Some(InFlight { all: self.clone(), this }))
        } else {
            Err(ExecuteError::RequestInFlight)
        }
    }

    fn set(&self) -> MutexGuard<'_, HashSet<(AggregateId, RequestHash)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.all.set().remove(&self.this);
    }
}

/// The request that a command repeats, if it repeats one.
///
/// # Errors
/// [`ExecuteError::KeyReused`].
pub(super) fn first<R>(repeat: Repeat) -> Result<Option<FirstRequest>, ExecuteError<R>> {
    match repeat {
        Repeat::New => Ok(None),
        Repeat::Of(first) => Ok(Some(first)),
        Repeat::KeyReused => Err(ExecuteError::KeyReused),
    }
}

impl Executor {
    /// The request that a command would repeat, if it would repeat one: for what is checked before the command, and would refuse
    /// the repeat.
    ///
    /// # Errors
    /// [`ExecuteError::KeyReused`], and those of the log.
    pub async fn first_request<A: CachedAggregate, R>(
        &self,
        id: A::Id,
        origin: &Origin,
    ) -> Result<Option<FirstRequest>, ExecuteError<R>> {
        if origin.request.is_none() {
            return Ok(None);
        }
        first(self.confirmed::<A>(id).await?.repeat_of(origin))
    }
}
