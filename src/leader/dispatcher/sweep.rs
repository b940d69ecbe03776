//! The sweep: regularly compares all assignments with what the instances want, and reconciles the differences.
//!
//! The read model `instances` says what is wanted, because loading every tenancy would take long and fill the cache.
//! It may lag, and the database may be unavailable: a difference only causes a reconciliation, which asks the log. An
//! assignment that is missing is found as well as one that differs.

use std::collections::BTreeMap;

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::tenancy::desired_assignments;
use dockhost_domain::wire::Assignment;
use dockhost_projections::StoreError;
use dockhost_projections::instances::InstanceDocument;
use futures::{StreamExt, TryStreamExt};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, SWEEP_INTERVAL, Trigger, WorkItem};
use crate::broker::assignments::AssignmentsError;
use crate::common::error::chain;

/// Instances reconciled at once.
const MAX_CONCURRENT_ITEMS: usize = 16;

/// Assignments by backend and instance; `None` for one that is unreadable.
type Current = BTreeMap<(BackendId, InstanceId), Option<Assignment>>;

impl Dispatcher {
    /// Sweeps regularly, until cancelled. A sweep that fails is repeated by the next one.
    pub(super) async fn sweep_regularly(&self, cancel: &CancellationToken) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(interval.tick()).await.is_some() {
            if let Err(error) = self.sweep(cancel).await {
                tracing::warn!(
                    error = chain(&error),
                    "the assignments could not be compared; the next sweep tries again"
                );
            }
        }
    }

    /// Compares all assignments once, and reconciles the differences. When cancelled, it begins no further item.
    ///
    /// # Errors
    /// If the assignments can't be read.
    pub async fn sweep(&self, cancel: &CancellationToken) -> Result<(), AssignmentsError> {
        let Some(differences) = cancel.run_until_cancelled(self.differences()).await else { return Ok(()) };
        let items = futures::stream::iter(differences?).take_until(cancel.cancelled());
        items.for_each_concurrent(MAX_CONCURRENT_ITEMS, |item| self.reconcile_or_log(item)).await;
        Ok(())
    }

    /// Reconciles for the sweep; the next sweep retries a failure.
    async fn reconcile_or_log(&self, item: WorkItem) {
        if let Err(error) = self.reconcile(&item).await {
            tracing::warn!(instance = %item.instance_id, error = chain(&error), "sweep could not reconcile an instance");
        }
    }

    /// Everything to reconcile. Without the database, that is every assignment.
    async fn differences(&self) -> Result<Vec<WorkItem>, AssignmentsError> {
        let mut current = self.read_assignments().await?;
        let mut items = Vec::new();
        if let Err(error) = self.compare_instances(&mut current, &mut items).await {
            tracing::warn!(error = chain(&error), "the instances can't be read; missing assignments are not found");
        }
        items.extend(unwanted(current));
        Ok(items)
    }

    async fn read_assignments(&self) -> Result<Current, AssignmentsError> {
        let mut current: Current = self.assignments.all().await?.into_iter().map(|key| (key, None)).collect();
        let mut contents = self.assignments.contents();
        while let Some((backend, assignment)) = contents.try_next().await? {
            if let Some(found) = current.get_mut(&(backend, assignment.instance_id)) {
                *found = Some(assignment);
            }
        }
        // Unreadable, or not yet on the node that served the others.
        for ((backend, instance), found) in current.iter_mut().filter(|(_, found)| found.is_none()) {
            *found = self.assignments.current(*backend, *instance).await?.assignment;
        }
        Ok(current)
    }

    /// Takes out of `current` what an instance wants, and collects what differs.
    async fn compare_instances(&self, current: &mut Current, items: &mut Vec<WorkItem>) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let page = self.store.live_instances_after(last).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.instance_id);
            items.extend(page.iter().flat_map(|instance| differing(instance, current)));
        }
    }
}

/// Takes out of `current` what this instance wants; what is missing or differs is to be reconciled.
fn differing(instance: &InstanceDocument, current: &mut Current) -> Vec<WorkItem> {
    let InstanceDocument { user_id, instance_id, state, .. } = instance;
    let differs = |(backend, desired): (BackendId, Assignment)| {
        let found = current.remove(&(backend, *instance_id)).flatten();
        let item = || WorkItem::for_backend(*user_id, *instance_id, backend, Trigger::Changed);
        (found.as_ref() != Some(&desired)).then(item)
    };
    desired_assignments(*user_id, *instance_id, state).into_iter().filter_map(differs).collect()
}

/// What no instance wants.
fn unwanted(current: Current) -> impl Iterator<Item = WorkItem> {
    current.into_iter().filter_map(|((backend, instance), assignment)| {
        Some(WorkItem::for_backend(assignment?.user_id, instance, backend, Trigger::Changed))
    })
}
