//! Re-queues aggregates that were released from quarantine.
//!
//! At the start of a term a projector releases aggregates that this version can read and its predecessor could not. The
//! predecessor's roles skipped their events, so each instance of a released tenancy is reconciled and its deadline set.

use std::collections::BTreeMap;

use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Tenancy;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::{Dispatcher, WorkItem};
use super::timers::Timers;
use crate::common::error::{Cause, chain};
use crate::execute::Executor;

/// Re-queues released aggregates until cancelled or until all projectors have exited.
pub async fn run(
    mut released: mpsc::Receiver<AggregateId>,
    (executor, dispatcher, timers): (&Executor, &Dispatcher, &Timers),
    cancel: &CancellationToken,
) {
    while let Some(Some(aggregate)) = cancel.run_until_cancelled(released.recv()).await {
        let AggregateId::Tenancy(user) = aggregate else { continue };
        if let Err(error) = requeue(user, executor, dispatcher, timers).await {
            tracing::warn!(%user, error = chain(&*error), "could not re-queue the instances of a released tenancy");
        }
    }
}

async fn requeue(user: UserId, executor: &Executor, dispatcher: &Dispatcher, timers: &Timers) -> Result<(), Cause> {
    let tenancy = executor.confirmed::<Tenancy>(user).await?;
    for instance in tenancy.state.all().map(|(id, _)| id) {
        dispatcher.reconcile(&WorkItem { user_id: user, instance_id: instance, backends: BTreeMap::new() }).await?;
        timers.schedule_deadline(user, instance).await?;
    }
    Ok(())
}
