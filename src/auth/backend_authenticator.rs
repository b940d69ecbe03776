//! Authenticates backends with the log: the API key's version must be the one that the log holds now.
//!
//! The log is asked each time, so that a revoked key is not accepted because of an old cache. A backend that was removed
//! is accepted only while it has to be told to remove containers.

use std::sync::Arc;

use dockhost_domain::backend::{Admission, Backend, KeyValidity, Machine};
use dockhost_domain::ids::BackendId;
use dockhost_domain::wire::AgentKey;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::auth::api_key::{ApiKeyId, ApiKeys};
use crate::broker::assignments::Assignments;
use crate::broker::callout::{AuthenticatedBackend, BackendAuthenticator};
use crate::broker::hello::{Enrolment, Enrolments};
use crate::common::clock;
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

impl LogBackendAuthenticator {
    /// The backend's current key; `None` if it is revoked.
    fn current_key(&self, backend_id: BackendId, machine: &Machine) -> Option<String> {
        let version = machine.valid_key_version()?;
        match self.keys.derive(ApiKeyId { backend_id, version }, machine.enrolled_at) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(backend = %backend_id, error = chain(&error), "the API key can't be derived");
                None
            }
        }
    }
}

impl BackendAuthenticator for LogBackendAuthenticator {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<AuthenticatedBackend>> {
        async move {
            let id = self.keys.read(&api_key).ok()?;
            let backend = self.backend(id.backend_id).await?;
            let until = match backend.key_validity(id.version, clock::now())? {
                KeyValidity::Unlimited => None,
                KeyValidity::Until(until) => Some(until),
            };
            let is_expected = backend.machine.is_some() || self.has_assignments(id.backend_id).await;
            is_expected.then_some(AuthenticatedBackend { id: id.backend_id, until })
        }
        .boxed()
    }
}

impl Enrolments for LogBackendAuthenticator {
    fn find(&self, backend_id: BackendId) -> BoxFuture<'_, Option<Enrolment>> {
        async move {
            let backend = self.backend(backend_id).await?;
            let removed =
                backend.removed.map(|_| Enrolment { max_containers: 0, awaits_approval: false, api_key: None });
            let machine = backend.machine.as_ref().map(|machine| Enrolment {
                max_containers: machine.max_containers(),
                awaits_approval: machine.admission == Admission::Pending,
                api_key: self.current_key(backend_id, machine).map(AgentKey),
            });
            machine.or(removed)
        }
        .boxed()
    }
}
