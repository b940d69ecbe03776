//! Authenticates backends with the log: the API key's version must be the one that the log holds now.
//!
//! The log is asked each time, so that a revoked key is not accepted because of an old cache.

use std::sync::Arc;

use dockhost_domain::backend::{Backend, Machine};
use dockhost_domain::ids::BackendId;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::auth::api_key::ApiKeys;
use crate::broker::callout::BackendAuthenticator;
use crate::broker::hello::Enrolments;
use crate::common::error::chain;
use crate::execute::Executor;

/// Reads backends from the log.
pub struct LogBackendAuthenticator {
    executor: Arc<Executor>,
    keys: ApiKeys,
}

impl LogBackendAuthenticator {
    /// An authenticator for API keys of this installation.
    pub const fn new(executor: Arc<Executor>, keys: ApiKeys) -> Self {
        Self { executor, keys }
    }

    async fn machine(&self, backend: BackendId) -> Option<Machine> {
        match self.executor.confirmed::<Backend>(backend).await {
            Ok(backend) => backend.state.machine.clone(),
            Err(error) => {
                tracing::warn!(%backend, error = chain(&error), "backend refused: it cannot be looked up");
                None
            }
        }
    }
}

impl BackendAuthenticator for LogBackendAuthenticator {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<BackendId>> {
        async move {
            let id = self.keys.read(&api_key).ok()?;
            let machine = self.machine(id.backend_id).await?;
            (machine.details.key_version == id.version).then_some(id.backend_id)
        }
        .boxed()
    }
}

impl Enrolments for LogBackendAuthenticator {
    fn max_containers(&self, backend: BackendId) -> BoxFuture<'_, Option<u32>> {
        async move { Some(self.machine(backend).await?.max_containers()) }.boxed()
    }
}
