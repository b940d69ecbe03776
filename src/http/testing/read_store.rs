//! Read models in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dockhost_domain::ids::{BackendId, GroupId, InstanceId, PrincipalId, SessionId, UserId, WebhookId};
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::backends::{BackendDocument, Backends};
use dockhost_projections::instances::{InstanceDocument, InstanceFilter, InstanceRef, InstanceSums, Instances, SumBy};
use dockhost_projections::quarantined::Retried;
use dockhost_projections::sessions::{SessionDocument, SessionFilter, Sessions};
use dockhost_projections::store::{ModelState, Page, ReadResult, WebhookProgress};
use dockhost_projections::users::{UserDocument, UserFilter, Users};
use dockhost_projections::{Document, History, ProjectionError, ReadModel, StoreError, Unreadable};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::event_log::EventLog;
use crate::event_log::memory::MemoryLog;
use crate::http::read_store::{QuarantinedByModel, Read, ReadStore};
use crate::webhooks::progress::ProgressStore;

/// Read models that are folded from the log for each query.
pub struct MemoryReadStore {
    log: Arc<MemoryLog>,
    unavailable: AtomicBool,
    /// Zero if the answers lack nothing.
    stale_since: AtomicU64,
    /// What is quarantined, and whether a retry folds it.
    quarantined: Mutex<Vec<(&'static str, Unreadable, bool)>>,
    webhooks: Mutex<BTreeMap<WebhookId, WebhookProgress>>,
}

impl MemoryReadStore {
    pub fn new(log: Arc<MemoryLog>) -> Self {
        let (unavailable, stale_since, quarantined, webhooks) = Default::default();
        Self { log, unavailable, stale_since, quarantined, webhooks }
    }

    pub fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::Relaxed);
    }

    /// Answers lack events from this sequence on.
    pub fn set_stale_since(&self, sequence: u64) {
        self.stale_since.store(sequence, Ordering::Relaxed);
    }

    /// A model quarantines an aggregate, which a retry folds if it `is_readable`.
    pub fn quarantine(&self, model: &'static str, event: Unreadable, is_readable: bool) {
        self.quarantined.lock().unwrap_or_else(PoisonError::into_inner).push((model, event, is_readable));
    }

    /// The deliveries of a webhook are so far.
    pub fn put_webhook_progress(&self, id: WebhookId, progress: WebhookProgress) {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, progress);
    }

    fn ensure_available(&self) -> Result<(), StoreError> {
        let is_available = !self.unavailable.load(Ordering::Relaxed);
        is_available.then_some(()).ok_or_else(|| StoreError::Unavailable("set by a test".into()))
    }

    fn documents<M: ReadModel>(&self) -> Result<Vec<M::Document>, StoreError> {
        self.ensure_available()?;
        let mut documents: BTreeMap<<M::Document as Document>::Id, M::Document> = BTreeMap::new();
        for recorded in self.log.events() {
            for id in M::keys(&recorded.envelope) {
                if let Some(document) = M::fold(id, documents.remove(&id), &recorded) {
                    documents.insert(id, document);
                }
            }
        }
        Ok(documents.into_values().collect())
    }

    fn read<T: Send + 'static>(&self, result: Result<T, StoreError>) -> Read<'_, T> {
        let stale_since = Some(self.stale_since.load(Ordering::Relaxed)).filter(|sequence| *sequence > 0);
        let sequence = self.log.events().last().map_or(0, |last| last.sequence);
        let state = Some(ModelState { incarnation: self.log.incarnation().clone(), sequence });
        async move { result.map(|value| ReadResult { value, state, stale_since }) }.boxed()
    }

    fn existing(&self, owner: UserId) -> Result<Vec<InstanceDocument>, StoreError> {
        let mut documents = self.documents::<Instances>()?;
        documents.retain(|document| document.user_id == owner && !document.state.is_deleted());
        Ok(documents)
    }
}

/// A page of the documents that are selected, and one more if there are more.
fn page_of<D: Document>(documents: Vec<D>, page: Page<D::Id>, is_selected: impl Fn(&D) -> bool) -> Vec<D> {
    let selected = documents.into_iter().filter(is_selected);
    let rest = selected.filter(|document| page.after.as_ref().is_none_or(|last| document.id() > *last));
    rest.take(usize::try_from(page.limit).unwrap() + 1).collect()
}

impl ProgressStore for MemoryReadStore {
    fn progress(&self, ids: Vec<WebhookId>) -> BoxFuture<'_, Result<BTreeMap<WebhookId, WebhookProgress>, StoreError>> {
        let all = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = all.into_iter().filter(|(id, _)| ids.contains(id)).collect();
        std::future::ready(self.ensure_available().map(|()| found)).boxed()
    }
}

impl ReadStore for MemoryReadStore {
    fn backend(&self, id: BackendId) -> Read<'_, Option<BackendDocument>> {
        let is_shown = |backend: &BackendDocument| backend.backend_id == id && backend.removed_at.is_none();
        self.read(self.documents::<Backends>().map(|documents| documents.into_iter().find(is_shown)))
    }

    fn instances_of(&self, owner: UserId) -> Read<'_, Vec<InstanceDocument>> {
        self.read(self.existing(owner))
    }

    fn page_of_instances(&self, owner: UserId, page: Page<InstanceId>) -> Read<'_, Vec<InstanceDocument>> {
        self.read(self.existing(owner).map(|documents| page_of(documents, page, |_| true)))
    }

    fn instance_of<'a>(&'a self, owner: UserId, instance: &'a InstanceRef) -> Read<'a, Option<InstanceDocument>> {
        let matches = |document: &InstanceDocument| match instance {
            InstanceRef::Id(id) => document.instance_id == *id,
            InstanceRef::Name(name) => document.state.name.plain() == Some(name),
        };
        self.read(self.existing(owner).map(|documents| documents.into_iter().find(matches)))
    }

    fn instance(&self, id: InstanceId) -> Read<'_, Option<InstanceDocument>> {
        let documents = self.documents::<Instances>();
        self.read(documents.map(|documents| documents.into_iter().find(|document| document.instance_id == id)))
    }

    fn users<'a>(&'a self, filter: &'a UserFilter, page: Page<UserId>) -> Read<'a, Vec<UserDocument>> {
        self.read(self.documents::<Users>().map(|documents| page_of(documents, page, |user| filter.selects(user))))
    }

    fn user(&self, id: UserId) -> Read<'_, Option<UserDocument>> {
        let documents = self.documents::<Users>();
        self.read(documents.map(|documents| documents.into_iter().find(|document| document.user_id == id)))
    }

    fn usernames(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, Username>> {
        let documents = self.documents::<Users>();
        let name = |user: UserDocument| Some((user.user_id, user.username?)).filter(|(id, _)| ids.contains(id));
        self.read(documents.map(|documents| documents.into_iter().filter_map(name).collect()))
    }

    fn members_of<'a>(&'a self, groups: &'a [GroupId]) -> Read<'a, Vec<UserId>> {
        let is_member = |user: &UserDocument| user.group_id.is_some_and(|group| groups.contains(&group));
        let documents = self.documents::<Users>();
        self.read(documents.map(|users| users.iter().filter(|user| is_member(user)).map(|user| user.user_id).collect()))
    }

    fn groups_of(&self, ids: Vec<UserId>) -> Read<'_, BTreeMap<UserId, GroupId>> {
        let documents = self.documents::<Users>();
        let group = |user: UserDocument| Some((user.user_id, user.group_id?)).filter(|(id, _)| ids.contains(id));
        self.read(documents.map(|documents| documents.into_iter().filter_map(group).collect()))
    }

    fn backends<'a>(&'a self, ids: Option<&'a [BackendId]>, page: Page<BackendId>) -> Read<'a, Vec<BackendDocument>> {
        let is_listed = |backend: &BackendDocument| {
            backend.removed_at.is_none() && ids.is_none_or(|ids| ids.contains(&backend.backend_id))
        };
        self.read(self.documents::<Backends>().map(|documents| page_of(documents, page, is_listed)))
    }

    fn instances_of_all<'a>(
        &'a self,
        filter: &'a InstanceFilter,
        page: Page<InstanceId>,
    ) -> Read<'a, Vec<InstanceDocument>> {
        let documents = self.documents::<Instances>();
        self.read(documents.map(|documents| page_of(documents, page, |instance| filter.selects(instance))))
    }

    fn instance_sums<'a>(&'a self, by: SumBy, ids: &'a [String]) -> Read<'a, BTreeMap<String, InstanceSums>> {
        let summed = self.documents::<Instances>().map(|documents| {
            let mut sums: BTreeMap<String, InstanceSums> = BTreeMap::new();
            for instance in documents.into_iter().filter(|instance| !instance.state.is_deleted()) {
                let id = match by {
                    SumBy::Owner => Some(instance.user_id.to_string()),
                    SumBy::Backend => instance.backend_id.map(|id| id.to_string()),
                };
                if let Some(id) = id.filter(|id| ids.contains(id)) {
                    let sum = sums.entry(id).or_default();
                    *sum = sum.and(instance.state.limits);
                }
            }
            sums
        });
        self.read(summed)
    }

    fn last_sign_ins<'a>(&'a self, principals: &'a [PrincipalId]) -> Read<'a, BTreeMap<PrincipalId, Timestamp>> {
        let is_asked = |session: &SessionDocument| !session.is_token && principals.contains(&session.principal_id);
        self.read(self.documents::<Sessions>().map(|documents| {
            let mut last = BTreeMap::new();
            for session in documents.into_iter().filter(is_asked) {
                let time = last.entry(session.principal_id).or_insert(session.started_at);
                *time = session.started_at.max(*time);
            }
            last
        }))
    }

    fn sessions_of(&self, principal: PrincipalId, now: Timestamp) -> Read<'_, Vec<SessionDocument>> {
        let filter = SessionFilter { principal: Some(principal), now };
        self.read(self.documents::<Sessions>().map(|mut documents| {
            documents.retain(|session| filter.selects(session));
            documents.sort_by_key(|session| std::cmp::Reverse((session.started_at, session.session_id)));
            documents
        }))
    }

    fn sessions_of_all<'a>(
        &'a self,
        filter: &'a SessionFilter,
        page: Page<SessionId>,
    ) -> Read<'a, Vec<SessionDocument>> {
        self.read(self.documents::<Sessions>().map(|documents| {
            let from_the_last = documents.into_iter().rev().filter(|session| filter.selects(session));
            let rest = from_the_last.filter(|session| page.after.is_none_or(|last| session.session_id < last));
            rest.take(usize::try_from(page.limit).unwrap() + 1).collect()
        }))
    }

    fn session(&self, id: SessionId) -> Read<'_, Option<SessionDocument>> {
        let documents = self.documents::<Sessions>();
        self.read(documents.map(|documents| documents.into_iter().find(|session| session.session_id == id)))
    }

    fn quarantined(&self) -> BoxFuture<'_, Result<QuarantinedByModel, StoreError>> {
        let entries = self.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        let found: QuarantinedByModel = entries.iter().map(|(model, event, _)| (*model, event.clone())).collect();
        let found = self.ensure_available().map(|()| found);
        async move { found }.boxed()
    }

    fn retry_quarantined<'a>(
        &'a self,
        _: &'a dyn History,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Retried>, ProjectionError>> {
        let mut entries = self.quarantined.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = entries.iter().filter(|(_, event, _)| event.subject == subject);
        let retried: Vec<Retried> = asked
            .map(|(model, event, is_readable)| Retried { model, still: (!is_readable).then(|| event.clone()) })
            .collect();
        let retried = self.ensure_available().map(|()| retried).map_err(ProjectionError::from);
        if retried.is_ok() {
            entries.retain(|(_, event, is_readable)| event.subject != subject || !is_readable);
        }
        async move { retried }.boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { self.documents::<Backends>().map(|_| ()) }.boxed()
    }
}
