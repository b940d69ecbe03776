use dockhost_domain::aggregate::Meta;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::{EventId, UserId};
use dockhost_domain::subject::AggregateId;
use dockhost_domain::tenancy::event::{ChangeRequested, Failed, PlacementFailure, Released};
use dockhost_domain::timestamp::Timestamp;
use tokio::time::advance;
use uuid::Uuid;

use super::*;

const ALPHA: BackendId = BackendId::from_uuid(Uuid::from_u128(1));
const BETA: BackendId = BackendId::from_uuid(Uuid::from_u128(2));
const MOMENT: Duration = Duration::from_millis(1);

fn instance(n: u128) -> InstanceId {
    InstanceId::from_uuid(Uuid::from_u128(n))
}

fn envelope(actor: Actor, event: TenancyEvent) -> Envelope {
    Envelope {
        aggregate: AggregateId::Tenancy(UserId::from_uuid(Uuid::from_u128(3))),
        meta: Meta { id: EventId::from_uuid(Uuid::from_u128(4)), time: Timestamp::from_millis(0) },
        origin: Origin::new(actor, "test"),
        event: Event::Tenancy(event),
    }
}

impl Standstills {
    fn stop(&self, n: u128, backend: BackendId) {
        let requested = ChangeRequested {
            instance_id: instance(n),
            generation: 2,
            deadline: Timestamp::from_millis(60_000),
            reason: None,
            moved_by: None,
        };
        self.observe(&envelope(Actor::System, TenancyEvent::StopRequested(requested)), |_| Some(backend));
    }

    /// A report that ends the wait for an instance.
    fn answer(&self, n: u128, backend: BackendId) {
        let released = Released { instance_id: instance(n), backend_id: backend, placement: 1 };
        self.observe(&envelope(Actor::Backend(backend), TenancyEvent::Released(released)), |_| None);
    }

    fn fail(&self, n: u128, backend_id: BackendId, reason: FailureReason) {
        let failed = Failed {
            instance_id: instance(n),
            generation: 2,
            failure: PlacementFailure { backend_id, reason },
            abandons_placement: false,
            report: None,
        };
        self.observe(&envelope(Actor::System, TenancyEvent::Failed(failed)), |_| None);
    }

    /// How many machines are late, and the seconds of the longest standstill.
    fn shown(&self) -> Option<(usize, Option<u64>)> {
        self.late(|_| true).map(|late| (late.machines, late.longest.map(|longest| longest.as_secs())))
    }
}

#[tokio::test(start_paused = true)]
async fn standstill_begins_when_commands_wait_and_no_report_arrives() {
    let standstills = Standstills::default();
    standstills.stop(1, ALPHA);
    advance(LIMIT - MOMENT).await;
    assert_eq!(standstills.shown(), None, "a container may take so long to end");
    advance(MOMENT).await;
    assert_eq!(standstills.shown(), Some((1, Some(8))));
    standstills.stop(2, BETA);
    advance(LIMIT).await;
    assert_eq!(standstills.shown(), Some((2, Some(16))));
    assert_eq!(standstills.late(|backend| backend == BETA).unwrap().longest, Some(LIMIT), "only those that count");
}

#[tokio::test(start_paused = true)]
async fn standstill_needs_a_command_that_waits() {
    let standstills = Standstills::default();
    standstills.answer(1, ALPHA);
    standstills.stop(1, ALPHA);
    standstills.answer(1, ALPHA);
    advance(RECENT).await;
    assert_eq!(standstills.shown(), None);
}

#[tokio::test(start_paused = true)]
async fn standstill_of_a_busy_machine_that_reports_is_none() {
    let standstills = Standstills::default();
    for n in 1..=10 {
        standstills.stop(n, ALPHA);
    }
    for n in 1..=10 {
        advance(LIMIT - MOMENT).await;
        assert_eq!(standstills.shown(), None, "report {n}");
        standstills.answer(n, ALPHA);
    }
}

#[tokio::test(start_paused = true)]
async fn standstill_lasts_for_a_while_after_the_next_report() {
    let standstills = Standstills::default();
    standstills.stop(1, ALPHA);
    advance(LIMIT).await;
    standstills.answer(1, ALPHA);
    assert_eq!(standstills.shown(), Some((1, None)));
    advance(RECOVERY - MOMENT).await;
    assert_eq!(standstills.shown(), Some((1, None)));
    advance(MOMENT).await;
    assert_eq!(standstills.shown(), None);
}

#[tokio::test(start_paused = true)]
async fn standstill_lasts_after_a_missed_deadline_and_ends_with_other_failures() {
    let standstills = Standstills::default();
    standstills.stop(1, ALPHA);
    standstills.stop(2, BETA);
    advance(LIMIT).await;
    standstills.fail(1, ALPHA, FailureReason::Late);
    standstills.fail(2, BETA, FailureReason::Lost);
    assert_eq!(standstills.shown(), Some((1, Some(8))), "a machine that was lost is reported otherwise");
    advance(RECENT).await;
    assert_eq!(standstills.shown(), None, "long ago");
}

#[test]
fn standstill_is_said_in_plain_words() {
    let of =
        |machines, longest: Option<u64>| Standstill { machines, longest: longest.map(Duration::from_secs) }.to_string();
    assert_eq!(
        of(1, Some(9)),
        "1 machine has carried out commands late or not at all, and reported nothing for up to 9 s; look at the agents' \
         logs, and at the nodes of the broker"
    );
    assert!(of(2, None).starts_with("2 machines have carried out commands late a moment ago;"));
}
