//! Counts the operations in a row whose backend did not answer by the deadline.
//!
//! A machine can be heard while its reports do not arrive, for example because the broker stores none. Then no consumer has
//! anything to wait for, and every operation ends at its deadline.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dockhost_domain::envelope::{Actor, Envelope};
use dockhost_domain::event::Event;
use dockhost_domain::tenancy::event::{FailureReason, TenancyEvent};
use tokio::time::Instant;

/// So many operations in a row are not the fault of one machine alone.
const MANY: u32 = 3;
/// Later, nobody has asked for anything since, so it may be well again.
const RECENT: Duration = Duration::from_secs(10 * 60);

/// The operations that ended at their deadline since the last report that became an event.
#[derive(Debug, Default)]
pub struct Unanswered(Mutex<Option<Row>>);

/// A change that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The last few operations got no answer.
    Many,
    /// A report has arrived again.
    Answered,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    operations: u32,
    last: Instant,
}

impl Unanswered {
    fn row(&self) -> MutexGuard<'_, Option<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an event of the log; returns what it changes.
    pub fn observe(&self, envelope: &Envelope) -> Option<Change> {
        let Event::Tenancy(event) = &envelope.event else { return None };
        let failure = match event {
            TenancyEvent::Placed(placed) => Some(&placed.failure),
            TenancyEvent::Failed(failed) => Some(&failed.failure),
            _ => None,
        };
        let mut row = self.row();
        if matches!(envelope.origin.actor, Actor::Backend(_)) {
            let were_many = row.take().is_some_and(|row| row.operations >= MANY);
            were_many.then_some(Change::Answered)
        } else if failure.is_some_and(|failure| failure.reason == FailureReason::Late) {
            let operations = row.map_or(0, |row| row.operations).saturating_add(1);
            *row = Some(Row { operations, last: Instant::now() });
            (operations == MANY).then_some(Change::Many)
        } else {
            None
        }
    }

    /// How many operations in a row got no answer lately; `None` if that is only a few.
    #[must_use]
    pub fn many(&self) -> Option<u32> {
        let row = (*self.row())?;
        (row.operations >= MANY && row.last.elapsed() < RECENT).then_some(row.operations)
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::aggregate::Meta;
    use dockhost_domain::envelope::Origin;
    use dockhost_domain::ids::{BackendId, EventId, InstanceId, UserId};
    use dockhost_domain::subject::AggregateId;
    use dockhost_domain::tenancy::event::{Failed, PlacementFailure};
    use dockhost_domain::timestamp::Timestamp;
    use uuid::Uuid;

    use super::*;

    const BACKEND: BackendId = BackendId::from_uuid(Uuid::from_u128(1));

    fn failed(actor: Actor, reason: FailureReason) -> Envelope {
        let failed = Failed {
            instance_id: InstanceId::from_uuid(Uuid::from_u128(2)),
            generation: 1,
            failure: PlacementFailure { backend_id: BACKEND, reason },
            abandons_placement: true,
            report: None,
        };
        Envelope {
            aggregate: AggregateId::Tenancy(UserId::from_uuid(Uuid::from_u128(3))),
            meta: Meta { id: EventId::from_uuid(Uuid::from_u128(4)), time: Timestamp::from_millis(0) },
            origin: Origin { actor, cause: "test".to_owned(), trace_parent: None },
            event: Event::Tenancy(TenancyEvent::Failed(failed)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unanswered_counts_late_operations_until_a_report_arrives() {
        let unanswered = Unanswered::default();
        let late = || unanswered.observe(&failed(Actor::System, FailureReason::Late));
        late();
        // A machine that was lost is no mystery.
        assert_eq!(unanswered.observe(&failed(Actor::System, FailureReason::Lost)), None);
        assert_eq!((late(), unanswered.many()), (None, None));
        assert_eq!((late(), unanswered.many()), (Some(Change::Many), Some(3)));
        tokio::time::advance(RECENT).await;
        assert_eq!(unanswered.many(), None, "long ago");
        assert_eq!((late(), unanswered.many()), (None, Some(4)));
        let report = failed(Actor::Backend(BACKEND), FailureReason::Lost);
        assert_eq!((unanswered.observe(&report), unanswered.many()), (Some(Change::Answered), None));
    }
}
