//! Commands on an instance that the caller names.

use std::sync::{Arc, Mutex, PoisonError};

use dockhost_domain::aggregate::CommandClass;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::tenancy::{Tenancy, TenancyEvent};

use super::named_instance::{Named, Unnamed};
use crate::execute::{ExecuteError, Executed, Executor};
use crate::http::extract::IfMatch;
use crate::http::response::ApiError;
use crate::http::version::{Version, changed};

/// Why a command on an instance is not carried out.
#[derive(Debug)]
pub enum Refusal<R> {
    /// The request names no instance.
    Unnamed(Unnamed),
    /// It has another version than the caller has seen.
    Changed,
    /// The domain rejects it.
    Rejected(R),
}

impl<R> Refusal<R> {
    /// The answer, with that to a rejection.
    pub fn answer(self, rejected: impl FnOnce(R) -> ApiError) -> ApiError {
        match self {
            Self::Unnamed(unnamed) => unnamed.into(),
            Self::Changed => changed(),
            Self::Rejected(rejection) => rejected(rejection),
        }
    }
}

/// Decides a command on the caller's instance of this name, and stores it; returns its id.
///
/// A name is looked up in the state that the command is decided on, again at each attempt: in an older state another
/// instance may have it. The version is compared with the same state.
///
/// # Errors
/// See [`ExecuteError`].
pub async fn execute<R: Send + 'static>(
    executor: &Arc<Executor>,
    user_id: UserId,
    origin: Origin,
    class: CommandClass,
    (instance, if_match): (Named, IfMatch),
    mut decide: impl FnMut(InstanceId, &Tenancy) -> Result<Option<TenancyEvent>, R> + Send + 'static,
) -> Result<(InstanceId, Executed<Tenancy>), ExecuteError<Refusal<R>>> {
    let found = Arc::new(Mutex::new(None));
    let decided_on = Arc::clone(&found);
    let decide = move |state: &Tenancy| {
        let id = instance.find(state).map_err(Refusal::Unnamed)?;
        if !if_match.allows(|| state.instance(id).map(Version::of)) {
            return Err(Refusal::Changed);
        }
        *decided_on.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        decide(id, state).map_err(Refusal::Rejected)
    };
    let done = executor.execute_with(user_id, origin, class, decide).await?;
    let found = *found.lock().unwrap_or_else(PoisonError::into_inner);
    found.map(|id| (id, done)).ok_or(ExecuteError::Rejected(Refusal::Unnamed(Unnamed::NotFound)))
}
