//! What was held back and is no more is looked at anew.
//!
//! In: aggregates that a projector released at the beginning of a term, because this program can read what its
//! predecessor could not. Out: for each instance of a released tenancy its assignments, as they should be, and its
//! deadline set: the predecessor's roles could make nothing of the events that would have told them.

use std::collections::BTreeMap;

use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::Tenancy;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::dispatcher::{Dispatcher, WorkItem};
use super::timers::Timers;
use crate::common::error::Cause;
use crate::common::error::chain;
use crate::execute::Executor;

/// Looks at what is released until cancelled, or until nobody can release anything more.
pub async fn run(
    mut released: mpsc::Receiver<AggregateId>,
    (executor, dispatcher, timers): (&Executor, &Dispatcher, &Timers),
    cancel: &CancellationToken,
) {
    while let Some(Some(aggregate)) = cancel.run_until_cancelled(released.recv()).await {
        let AggregateId::Tenancy(user) = aggregate else { continue };
        if let Err(error) = requeue(user, executor, dispatcher, timers).await {
            tracing::warn!(%user, error = chain(&*error), "released instances could not be looked at");
        }
    }
}

async fn requeue(user: UserId, executor: &Executor, dispatcher: &Dispatcher, timers: &Timers) -> Result<(), Cause> {
    let held = executor.confirmed::<Tenancy>(user).await?;
    for instance in held.state.all().map(|(id, _)| id) {
        dispatcher.reconcile(&WorkItem { user_id: user, instance_id: instance, backends: BTreeMap::new() }).await?;
        timers.schedule_deadline(user, instance).await?;
    }
    Ok(())
}
