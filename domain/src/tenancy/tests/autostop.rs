//! The stop of what nobody is connected to.

use proptest::prelude::*;

use super::fixtures::*;
use crate::aggregate::Command;
use crate::group::{GroupLimit, GroupLimits};
use crate::tenancy::event::*;
use crate::tenancy::{AdministerInstance, ChangeSettings, EndLifetime, Instance, Policy, SshSeen, Tenancy};
use crate::testing::{Given, at, given};
use crate::timestamp::Timestamp;
use crate::wire::DesiredState;

/// Five minutes, in seconds.
const PERIOD: i64 = 300;

/// An instance that is stopped after [`PERIOD`] without a connection, requested at second 1, and then what happened in `history`.
fn idling(history: Vec<TenancyEvent>) -> Given<Tenancy> {
    let lifetime = lifetime(Some(5));
    given([TenancyEvent::Requested(Requested { lifetime, ..requested(WEB, "web") })]).and(history.into_iter().skip(1))
}

fn lifetime(autostop: Option<u32>) -> Lifetime {
    Lifetime { expires_at: None, autostop_minutes: autostop.map(|minutes| minutes.try_into().unwrap()) }
}

/// Looked at second `now`, after watching since second `since`.
fn saw(connected: Option<i64>, since: i64, now: i64) -> Option<SshSeen> {
    Some(SshSeen { looked_at: at(now), watched_since: at(since), connected_at: connected.map(at) })
}

fn end(seen: Option<SshSeen>, now: i64) -> EndLifetime {
    EndLifetime { instance_id: WEB, group: GroupLimits::default(), seen, now: at(now), policy: Policy::default() }
}

fn moved_by(fact: Fact, seconds: i64) -> MovedBy {
    MovedBy { fact, at: at(seconds) }
}

fn stopped(generation: u32, now: i64, moved_by: MovedBy) -> TenancyEvent {
    let deadline = at(now).after(Policy::default().stop_within);
    let (reason, moved_by) = (Some(StopReason::Autostop), Some(moved_by));
    TenancyEvent::StopRequested(ChangeRequested { instance_id: WEB, generation, deadline, reason, moved_by })
}

fn activity(seconds: i64) -> TenancyEvent {
    TenancyEvent::Activity(Activity { instance_id: WEB, at: at(seconds) })
}

fn web(tenancy: &Given<Tenancy>) -> &Instance {
    tenancy.state.instance(WEB).unwrap()
}

fn stops_at(tenancy: &Given<Tenancy>) -> Option<(Timestamp, MovedBy)> {
    web(tenancy).stops_at(&GroupLimits::default()).map(|stop| (stop.at, stop.moved_by))
}

#[test]
fn autostop_after_the_period_without_a_connection_happens_once() {
    for (history, generation) in [(history::running(), 2), (history::recovering(), 2)] {
        let tenancy = idling(history).when(end(saw(None, 0, PERIOD), PERIOD)).then_nothing();
        let now = PERIOD + 1;
        let tenancy =
            tenancy.when(end(saw(None, 0, now), now)).then(stopped(generation, now, moved_by(Fact::Created, 1)));
        let instance = web(&tenancy);
        let reason = (instance.stop_reason, instance.stop_moved_by);
        assert_eq!(reason, (Some(StopReason::Autostop), Some(moved_by(Fact::Created, 1))));
        tenancy.when(end(saw(None, 0, now + 1), now + 1)).then_nothing();
    }
}

/// Without an agent that sees the connections, or while it has not watched for the whole period, nobody knows whether the instance
/// is in use.
#[test]
fn autostop_of_what_nobody_has_watched_for_the_whole_period_does_not_happen() {
    let tenancy = idling(history::running());
    let now = 10 * PERIOD;
    let tenancy = tenancy.when(end(None, now)).then_nothing();
    let tenancy = tenancy.when(end(saw(None, now - PERIOD + 1, now), now)).then_nothing();
    // The last look was too early.
    let tenancy = tenancy.when(end(saw(None, now - PERIOD, now - 1), now)).then_nothing();
    tenancy.when(end(saw(None, now - PERIOD, now), now)).then(stopped(2, now, moved_by(Fact::Created, 1)));
}

#[test]
fn autostop_leaves_alone_what_does_not_run_or_has_no_autostop() {
    for history in history::neither_running_nor_resuming() {
        let tenancy = idling(history).when(end(saw(None, 0, 10_000), 10_000)).then_nothing();
        tenancy.when(end(saw(Some(10_000), 0, 10_000), 10_000)).then_nothing();
    }
    given(history::running()).when(end(saw(Some(10_000), 0, 10_000), 10_000)).then_nothing();
}

#[test]
fn activity_is_recorded_at_intervals_and_moves_the_stop() {
    let quarter = PERIOD / 4;
    let tenancy = idling(history::running()).when(end(saw(Some(quarter), 0, quarter), quarter)).then_nothing();
    let now = quarter + 1;
    let tenancy = tenancy.when(end(saw(Some(now), 0, now), now)).then(activity(now));
    assert_eq!(stops_at(&tenancy), Some((at(now + PERIOD), moved_by(Fact::Activity, now))));
    assert_eq!(web(&tenancy).last_activity, at(now));
    let tenancy = tenancy.when(end(saw(Some(now + 1), 0, now + 1), now + 1)).then_nothing();
    // The connection ended one second after what is recorded. At the recorded end, the log learns of it, and then the stop.
    let (ended, recorded_end) = (now + 1, now + PERIOD);
    let tenancy = tenancy.when(end(saw(Some(ended), 0, recorded_end), recorded_end)).then(activity(ended));
    let over = ended + PERIOD;
    let tenancy = tenancy.when(end(saw(Some(ended), 0, over - 1), over - 1)).then_nothing();
    tenancy.when(end(saw(Some(ended), 0, over), over)).then(stopped(2, over, moved_by(Fact::Activity, ended)));
}

#[test]
fn idle_period_begins_anew_with_a_resume_and_a_change_of_the_autostop() {
    let resumed = idling(history::stopped()).and_at(1_000, TenancyEvent::ResumeRequested(change_requested(3, 1_060)));
    assert_eq!(stops_at(&resumed), Some((at(1_000 + PERIOD), moved_by(Fact::Resumed, 1_000))));
    let now = 1_000 + PERIOD;
    let stop = stopped(4, now, moved_by(Fact::Resumed, 1_000));
    resumed.clone().when(end(saw(None, 0, now), now)).then(stop);
    let change = AdministerInstance { change: change(WEB, DesiredState::Running, 40), reason: None };
    let by_administrator = change.decide(&idling(history::stopped()).state).unwrap().unwrap();
    let by_administrator = idling(history::stopped()).and_at(2_000, by_administrator);
    assert_eq!(stops_at(&by_administrator), Some((at(2_000 + PERIOD), moved_by(Fact::Resumed, 2_000))));

    let settings = |autostop: Option<u32>| settings_changed(OnLost::Wait, lifetime(autostop));
    let changed = given(history::running()).and_at(5_000, settings(Some(10)));
    assert_eq!(stops_at(&changed), Some((at(5_600), moved_by(Fact::Changed, 5_000))));
    let changed = changed.and_at(5_100, settings(None));
    assert_eq!(stops_at(&changed), None);
    let command = ChangeSettings {
        instance_id: WEB,
        name: None,
        on_lost: None,
        expires_at: None,
        autostop: Some(lifetime(Some(10)).autostop_minutes),
        now: at(5_200),
    };
    changed.when(command).then(settings(Some(10)));
}

#[test]
fn autostop_of_the_group_counts_from_when_it_applies_and_the_earlier_one_stops() {
    let group = |minutes: u32, since| GroupLimits {
        time_to_live: None,
        autostop: Some(GroupLimit {
            minutes: minutes.try_into().unwrap(),
            moved_by: moved_by(Fact::GroupChanged, since),
        }),
    };
    let stops_at = |tenancy: &Given<Tenancy>, group| web(tenancy).stops_at(&group).map(|stop| (stop.at, stop.moved_by));
    let tenancy = given(history::running());
    assert_eq!(stops_at(&tenancy, group(10, 5_000)), Some((at(5_600), moved_by(Fact::GroupChanged, 5_000))));
    let end = |now| EndLifetime { group: group(10, 5_000), ..end(saw(None, 0, now), now) };
    let tenancy = tenancy.when(end(5_599)).then_nothing();
    tenancy.when(end(5_600)).then(stopped(2, 5_600, moved_by(Fact::GroupChanged, 5_000)));
    let own = idling(history::running());
    assert_eq!(stops_at(&own, group(10, 0)), Some((at(1 + PERIOD), moved_by(Fact::Created, 1))));
    assert_eq!(stops_at(&own.and([activity(5_001)]), group(10, 5_000)).map(|(at, _)| at), Some(at(5_001 + PERIOD)));
}

proptest! {
    /// Whatever the agent saw and whatever was recorded, nothing is stopped while somebody was connected in the last period, or may
    /// have been; and what was watched for long without a connection is stopped.
    #[test]
    fn autostop_never_happens_within_a_period_after_a_connection(
        recorded in proptest::option::of(2_i64..3_000),
        connected in proptest::option::of(0_i64..3_000),
        watched_since in 0_i64..3_000,
        now in 0_i64..5_000,
        age in 0_i64..20,
    ) {
        let watched_since = watched_since.min(now);
        let connected = connected.map(|connected| connected.clamp(watched_since, now));
        let tenancy = recorded.into_iter().fold(idling(history::running()), |tenancy, at| tenancy.and([activity(at)]));
        let seen = saw(connected, watched_since, now);
        let decided = end(seen, now + age).decide(&tenancy.state).unwrap();
        let last_use = recorded.unwrap_or(1).max(connected.unwrap_or(watched_since)).max(1);
        let is_stop = matches!(decided, Some(TenancyEvent::StopRequested(_)));
        prop_assert_eq!(is_stop, last_use + PERIOD <= now, "{:?}", decided);
        if let Some(TenancyEvent::Activity(seen)) = decided {
            prop_assert_eq!(Some(seen.at), connected.map(at));
        }
    }

    /// Recorded activity never makes the stop earlier, in whatever order it is recorded.
    #[test]
    fn activity_moves_the_stop_only_to_later(times in proptest::collection::vec(0_i64..3_000, 0..8)) {
        let mut tenancy = idling(history::running());
        let mut last = stops_at(&tenancy);
        for time in times {
            tenancy = tenancy.and([activity(time)]);
            let next = stops_at(&tenancy);
            prop_assert!(next.map(|(at, _)| at) >= last.map(|(at, _)| at));
            last = next;
        }
    }
}
