//! The broker's door, as the log decides it: whose an API key is, and how much room a backend has.
//!
//! In: an API key, or a backend's id. Out: the backend, if the key is one of ours and of the version that the log
//! holds at this moment. Asked of the log each time: an old key must not open the door because a cache is old.

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

/// Decides by the log.
pub struct LogBackendAuthenticator {
    executor: Arc<Executor>,
    keys: ApiKeys,
}

impl LogBackendAuthenticator {
    /// A gate with the keys of this installation.
    pub const fn new(executor: Arc<Executor>, keys: ApiKeys) -> Self {
        Self { executor, keys }
    }

    async fn machine(&self, backend: BackendId) -> Option<Machine> {
        match self.executor.confirmed::<Backend>(backend).await {
            Ok(backend) => backend.state.machine.clone(),
            Err(error) => {
                tracing::warn!(%backend, error = chain(&error), "a backend can't be looked up, so it stays outside");
                None
            }
        }
    }
}

impl BackendAuthenticator for LogBackendAuthenticator {
    fn authenticate(&self, api_key: String) -> BoxFuture<'_, Option<BackendId>> {
        async move {
            let of = self.keys.read(&api_key).ok()?;
            let machine = self.machine(of.backend_id).await?;
            (machine.details.key_version == of.version).then_some(of.backend_id)
        }
        .boxed()
    }
}

impl Enrolments for LogBackendAuthenticator {
    fn max_containers(&self, backend: BackendId) -> BoxFuture<'_, Option<u32>> {
        async move { Some(self.machine(backend).await?.details.max_containers) }.boxed()
    }
}
