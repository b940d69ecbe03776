//! The port to the read models: the questions that queries ask.

use dockhost_domain::ids::{BackendId, UserId};
use dockhost_projections::StoreError;
use dockhost_projections::backends::BackendDocument;
use dockhost_projections::instances::{InstanceDocument, InstanceRef};
use dockhost_projections::store::{MongoStore, ReadResult};
use futures::FutureExt;
use futures::future::BoxFuture;

/// The answer of a read model.
pub type Read<'a, T> = BoxFuture<'a, Result<ReadResult<T>, StoreError>>;

/// The port to the read models.
pub trait ReadStore: Send + Sync + 'static {
    /// A backend's document.
    fn backend(&self, id: BackendId) -> Read<'_, Option<BackendDocument>>;

    /// A user's instances, without deleted ones, the oldest first.
    fn instances_of(&self, owner: UserId) -> Read<'_, Vec<InstanceDocument>>;

    /// A user's instance, unless it is deleted.
    fn instance_of<'a>(&'a self, owner: UserId, instance: &'a InstanceRef) -> Read<'a, Option<InstanceDocument>>;

    /// Whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl ReadStore for MongoStore {
    fn backend(&self, id: BackendId) -> Read<'_, Option<BackendDocument>> {
        Self::backend(self, id).boxed()
    }

    fn instances_of(&self, owner: UserId) -> Read<'_, Vec<InstanceDocument>> {
        Self::instances_of(self, owner).boxed()
    }

    fn instance_of<'a>(&'a self, owner: UserId, instance: &'a InstanceRef) -> Read<'a, Option<InstanceDocument>> {
        Self::instance_of(self, owner, instance).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Self::ping(self).boxed()
    }
}
