//! The port to the read models: the questions that queries ask.

use std::collections::BTreeMap;

use dockhost_domain::ids::{BackendId, GroupId, InstanceId, PrincipalId, SessionId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::BackendDocument;
use dockhost_projections::instances::{InstanceDocument, InstanceFilter, InstanceRef, InstanceSums, SumBy};
use dockhost_projections::quarantined::{Retried, quarantined_by_model, retry_in_all};
use dockhost_projections::sessions::{SessionDocument, SessionFilter};
use dockhost_projections::store::{MongoStore, Page, ReadResult};
use dockhost_projections::users::{UserDocument, UserFilter};
use dockhost_projections::{History, ProjectionError, StoreError, Unreadable};
use futures::FutureExt;
use futures::future::BoxFuture;

/// The answer of a read model.
pub type Read<'a, T> = BoxFuture<'a, Result<ReadResult<T>, StoreError>>;

/// Aggregates with an event that can't be folded, each with the model that lacks it.
pub type QuarantinedByModel = Vec<(&'static str, Unreadable)>;

/// The port to the read models.
pub trait ReadStore: Send + Sync + 'static {
    /// A backend's document.
    fn backend(&self, id: BackendId) -> Read<'_, Option<BackendDocument>>;

    /// A user's instances, without deleted ones, the oldest first.
    fn instances_of(&self, owner: UserId) -> Read<'_, Vec<InstanceDocument>>;

    /// A page of the same, in the order of their ids.
    fn page_of_instances(&self, owner: UserId, page: Page<InstanceId>) -> Read<'_, Vec<InstanceDocument>>;

    /// A user's instance, unless it is deleted.
    fn instance_of<'a>(&'a self, owner: UserId, instance: &'a InstanceRef) -> Read<'a, Option<InstanceDocument>>;

    /// An instance of any user, deleted or not.
    fn instance(&self, id: InstanceId) -> Read<'_, Option<InstanceDocument>>;

    /// A page of the users that a filter selects.
    fn users<'a>(&'a self, filter: &'a UserFilter, page: Page<UserId>) -> Read<'a, Vec<UserDocument>>;

    /// A user's document.
    fn user(&self, id: UserId) -> Read<'_, Option<UserDocument>>;

    /// The names of these users, without those who are erased.
    fn usernames(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, Username>>;

    /// The members of these groups.
    fn members_of<'a>(&'a self, groups: &'a [GroupId]) -> Read<'a, Vec<UserId>>;

    /// The groups of these users, without those who are in none.
    fn groups_of(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, GroupId>>;

    /// A page of all backends, or of those that have one of these ids.
    fn backends<'a>(&'a self, ids: Option<&'a [BackendId]>, page: Page<BackendId>) -> Read<'a, Vec<BackendDocument>>;

    /// A page of the instances of all users that a filter selects.
    fn instances_of_all<'a>(
        &'a self,
        filter: &'a InstanceFilter,
        page: Page<InstanceId>,
    ) -> Read<'a, Vec<InstanceDocument>>;

    /// How many instances each of these owners or backends has, by the text of its id, and what they may use in all; those
    /// without any are absent.
    fn instance_sums<'a>(&'a self, by: SumBy, ids: &'a [String]) -> Read<'a, BTreeMap<String, InstanceSums>>;

    /// When each of these principals signed in last; without those who never did.
    fn last_sign_ins<'a>(&'a self, principals: &'a [PrincipalId]) -> Read<'a, BTreeMap<PrincipalId, Timestamp>>;

    /// A principal's sessions that have not ended at this time, the newest first.
    fn sessions_of(&self, principal: PrincipalId, now: Timestamp) -> Read<'_, Vec<SessionDocument>>;

    /// A page of the sessions of everybody that a filter selects, the newest first.
    fn sessions_of_all<'a>(
        &'a self,
        filter: &'a SessionFilter,
        page: Page<SessionId>,
    ) -> Read<'a, Vec<SessionDocument>>;

    /// A session, also one that has ended.
    fn session(&self, id: SessionId) -> Read<'_, Option<SessionDocument>>;

    /// What the read models have quarantined.
    fn quarantined(&self) -> BoxFuture<'_, Result<QuarantinedByModel, StoreError>>;

    /// Folds a quarantined aggregate again in each model that quarantines it; empty if none does.
    fn retry_quarantined<'a>(
        &'a self,
        history: &'a dyn History,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Retried>, ProjectionError>>;

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

    fn page_of_instances(&self, owner: UserId, page: Page<InstanceId>) -> Read<'_, Vec<InstanceDocument>> {
        Self::page_of_instances(self, owner, page).boxed()
    }

    fn instance_of<'a>(&'a self, owner: UserId, instance: &'a InstanceRef) -> Read<'a, Option<InstanceDocument>> {
        Self::instance_of(self, owner, instance).boxed()
    }

    fn instance(&self, id: InstanceId) -> Read<'_, Option<InstanceDocument>> {
        Self::instance(self, id).boxed()
    }

    fn users<'a>(&'a self, filter: &'a UserFilter, page: Page<UserId>) -> Read<'a, Vec<UserDocument>> {
        Self::users(self, filter, page).boxed()
    }

    fn user(&self, id: UserId) -> Read<'_, Option<UserDocument>> {
        Self::user_by_id(self, id).boxed()
    }

    fn usernames(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, Username>> {
        Self::usernames(self, ids).boxed()
    }

    fn members_of<'a>(&'a self, groups: &'a [GroupId]) -> Read<'a, Vec<UserId>> {
        Self::members_of(self, groups).boxed()
    }

    fn groups_of(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, GroupId>> {
        Self::groups_of(self, ids).boxed()
    }

    fn backends<'a>(&'a self, ids: Option<&'a [BackendId]>, page: Page<BackendId>) -> Read<'a, Vec<BackendDocument>> {
        Self::backends(self, ids, page).boxed()
    }

    fn instances_of_all<'a>(
        &'a self,
        filter: &'a InstanceFilter,
        page: Page<InstanceId>,
    ) -> Read<'a, Vec<InstanceDocument>> {
        Self::instances_of_all(self, filter, page).boxed()
    }

    fn instance_sums<'a>(&'a self, by: SumBy, ids: &'a [String]) -> Read<'a, BTreeMap<String, InstanceSums>> {
        Self::instance_sums(self, by, ids).boxed()
    }

    fn last_sign_ins<'a>(&'a self, principals: &'a [PrincipalId]) -> Read<'a, BTreeMap<PrincipalId, Timestamp>> {
        Self::last_sign_ins(self, principals).boxed()
    }

    fn sessions_of(&self, principal: PrincipalId, now: Timestamp) -> Read<'_, Vec<SessionDocument>> {
        Self::sessions_of(self, principal, now).boxed()
    }

    fn sessions_of_all<'a>(
        &'a self,
        filter: &'a SessionFilter,
        page: Page<SessionId>,
    ) -> Read<'a, Vec<SessionDocument>> {
        Self::sessions_of_all(self, filter, page).boxed()
    }

    fn session(&self, id: SessionId) -> Read<'_, Option<SessionDocument>> {
        Self::session(self, id).boxed()
    }

    fn quarantined(&self) -> BoxFuture<'_, Result<QuarantinedByModel, StoreError>> {
        quarantined_by_model(self).boxed()
    }

    fn retry_quarantined<'a>(
        &'a self,
        history: &'a dyn History,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Retried>, ProjectionError>> {
        retry_in_all(self, history, subject).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Self::ping(self).boxed()
    }
}
