//! Authenticates backends with the log: the API key's version must be the one that the log holds now.
//!
//! The log is asked each time, so that a revoked key is not accepted because of an old cache. A backend that was removed
//! is accepted only while it has to be told to remove containers.

use std::sync::Arc;

use dockhost_domain::backend::{Admission, Backend};
use dockhost_domain::ids::BackendId;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::auth::api_key::ApiKeys;
use crate::broker::assignments::Assignments;
use crate::broker::callout::BackendAuthenticator;
use crate::broker::hello::{Enrolment, Enrolments};
use crate::common::error::chain;
use crate::execute::Executor;

/// Reads backends from the log.
pub struct LogBackendAuthenticator {
    executor: Arc<Executor>,
    assignments: Assignments,
    keys: ApiKeys,
}

impl LogBackendAuthenticator {
    /// An authenticator for API keys of this installation.
    pub const fn new(executor: Arc<Executor>, assignments: Assignments, keys: ApiKeys) -> Self {
        Self { executor, assignments, keys }
    }

    async fn backend(&self, backend: BackendId) -> Option<Arc<Backend>> {
        match self.executor.confirmed::<Backend>(backend).await {
            Ok(backend) => Some(backend.state.clone()),
            Err(error) => {
                tracing::warn!(%backend, error = chain(&error), "backend refused: it cannot be looked up");
                None
            }
        }
    }

    /// Whether a removed backend has assignments, which say what to remove.
    async fn has_assignments(&self, backend: BackendId) -> bool {
        match self.assignments.of(backend).await {
            Ok(assignments) => !assignments.is_empty(),
            Err(error) => {
                tracing::warn!(%backend, error = chain(&error), "removed backend refused: its assignments are unknown");
                false
            }
        }
    }
}

impl BackendAuthenticator for LogBackendAuthenticator {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<BackendId>> {
        async move {
            let id = self.keys.read(&api_key).ok()?;
            let backend = self.backend(id.backend_id).await?;
            let valid = backend.accepts_key(id.version)
                && (backend.machine.is_some() || self.has_assignments(id.backend_id).await);
            valid.then_some(id.backend_id)
        }
        .boxed()
    }
}

impl Enrolments for LogBackendAuthenticator {
    fn find(&self, backend: BackendId) -> BoxFuture<'_, Option<Enrolment>> {
        async move {
            let backend = self.backend(backend).await?;
            let removed = backend.removed.map(|_| Enrolment { max_containers: 0, awaits_approval: false });
            let machine = backend.machine.as_ref().map(|machine| Enrolment {
                max_containers: machine.max_containers(),
                awaits_approval: machine.admission == Admission::Pending,
            });
            machine.or(removed)
        }
        .boxed()
    }
}
