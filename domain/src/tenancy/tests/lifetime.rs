//! Until when an instance may run, and the changes of that.

use proptest::prelude::*;

use super::fixtures::*;
use crate::aggregate::Command;
use crate::group::{GroupLimit, GroupLimits};
use crate::tenancy::event::*;
use crate::tenancy::{
    ChangeRejected, ChangeSettings, EndLifetime, Instance, Policy, RequestRejected, SettingsRejected, StopsAt, Tenancy,
};
use crate::testing::{Given, at, given};
use crate::wire::{DesiredState, Phase};

/// Requested at second 1 with this end, and then what happened in `history`.
fn expiring(history: Vec<TenancyEvent>, expires_at: Option<i64>) -> Given<Tenancy> {
    let lifetime = Lifetime { expires_at: expires_at.map(at), ..Lifetime::default() };
    given([TenancyEvent::Requested(Requested { lifetime, ..requested(WEB, "web") })]).and(history.into_iter().skip(1))
}

fn moved_by(fact: Fact, seconds: i64) -> MovedBy {
    MovedBy { fact, at: at(seconds) }
}

/// A limit of a group of this many minutes, since this second.
fn group(minutes: u32, since: i64) -> GroupLimits {
    let moved_by = moved_by(Fact::GroupChanged, since);
    GroupLimits { time_to_live: Some(GroupLimit { minutes: minutes.try_into().unwrap(), moved_by }), autostop: None }
}

fn stop(group: GroupLimits, now: i64) -> EndLifetime {
    EndLifetime { instance_id: WEB, group, seen: None, now: at(now), policy: Policy::default() }
}

/// The stop for its time to live, decided at second `now`.
fn stop_requested(generation: u32, now: i64, moved_by: MovedBy) -> TenancyEvent {
    let deadline = at(now).after(Policy::default().stop_within);
    let (reason, moved_by) = (Some(StopReason::TimeToLive), Some(moved_by));
    TenancyEvent::StopRequested(ChangeRequested { instance_id: WEB, generation, deadline, reason, moved_by })
}

fn settings(on_lost: Option<OnLost>, expires_at: Option<Option<i64>>, now: i64) -> ChangeSettings {
    let expires_at = expires_at.map(|end| end.map(at));
    ChangeSettings { instance_id: WEB, name: None, on_lost, expires_at, autostop: None, now: at(now) }
}

fn changed(on_lost: OnLost, expires_at: Option<i64>) -> TenancyEvent {
    let lifetime = Lifetime { expires_at: expires_at.map(at), ..Lifetime::default() };
    settings_changed(on_lost, lifetime)
}

fn web(tenancy: &Given<Tenancy>) -> &Instance {
    tenancy.state.instance(WEB).unwrap()
}

const NONE: GroupLimits = GroupLimits { time_to_live: None, autostop: None };

#[test]
fn stop_at_the_end_of_the_time_to_live_happens_once_and_names_what_moved_it() {
    for (history, generation) in [(history::running(), 2), (history::recovering(), 2), (history::resuming(), 4)] {
        let tenancy = expiring(history, Some(70)).when(stop(NONE, 69)).then_nothing();
        let stopped = tenancy.when(stop(NONE, 70)).then(stop_requested(generation, 70, moved_by(Fact::Created, 1)));
        let reason = (web(&stopped).stop_reason, web(&stopped).stop_moved_by);
        assert_eq!(reason, (Some(StopReason::TimeToLive), Some(moved_by(Fact::Created, 1))));
        stopped.when(stop(NONE, 71)).then_nothing();
    }
}

#[test]
fn stop_at_the_end_of_the_time_to_live_leaves_alone_what_does_not_run() {
    for history in history::neither_running_nor_resuming() {
        expiring(history, Some(70)).when(stop(group(5, 0), 10_000)).then_nothing();
    }
    given::<Tenancy>([]).when(stop(NONE, 100)).then_nothing();
    given(history::running()).when(stop(NONE, 10_000)).then_nothing();
}

#[test]
fn stops_at_is_the_earlier_one_of_the_own_end_and_that_of_the_group() {
    let stops_at = |tenancy: &Given<Tenancy>, group| {
        web(tenancy).stops_at(&group).map(|StopsAt { at, moved_by, .. }| (at, moved_by))
    };
    let tenancy = expiring(history::running(), Some(1_000));
    assert_eq!(stops_at(&tenancy, NONE), Some((at(1_000), moved_by(Fact::Created, 1))));
    assert_eq!(stops_at(&tenancy, group(5, 0)), Some((at(301), moved_by(Fact::Created, 1))));
    assert_eq!(stops_at(&tenancy, group(5, 100)), Some((at(400), moved_by(Fact::GroupChanged, 100))));
    assert_eq!(stops_at(&tenancy, group(60, 100)), Some((at(1_000), moved_by(Fact::Created, 1))));
    let extended = tenancy.and_at(50, changed(OnLost::Wait, Some(9_000)));
    assert_eq!(stops_at(&extended, NONE), Some((at(9_000), moved_by(Fact::Changed, 50))));
    let other = extended.clone().and_at(60, changed(OnLost::Recreate, Some(9_000)));
    assert_eq!(stops_at(&other, NONE), Some((at(9_000), moved_by(Fact::Changed, 50))), "onLost does not move it");
    assert_eq!(stops_at(&extended, group(60, 100)), Some((at(3_700), moved_by(Fact::GroupChanged, 100))));
    let unlimited = extended.and_at(70, changed(OnLost::Wait, None));
    assert_eq!(stops_at(&unlimited, NONE), None);
}

#[test]
fn resume_after_the_end_is_refused_until_the_time_to_live_is_extended() {
    let expired = Err(ChangeRejected::Expired { at: at(70) });
    let tenancy = expiring(history::stopped(), Some(70));
    assert_eq!(web(&tenancy).may_resume(&NONE, at(69)), Ok(()));
    assert_eq!(web(&tenancy).may_resume(&NONE, at(70)), expired);
    let extended = tenancy.when(settings(None, Some(Some(90)), 80)).then(changed(OnLost::Wait, Some(90)));
    assert_eq!(web(&extended).may_resume(&NONE, at(80)), Ok(()));
    let of_group = Err(ChangeRejected::Expired { at: at(301) });
    assert_eq!(web(&given(history::stopped())).may_resume(&group(5, 0), at(301)), of_group);
    // Resuming what runs changes nothing, and what is or will be gone has other answers.
    for history in [history::running(), history::resuming(), history::deleting(), history::never_created()] {
        assert_eq!(web(&expiring(history, Some(70))).may_resume(&NONE, at(70)), Ok(()));
    }
    let failed = failed(3, failure(A, FailureReason::Late), None);
    let failed = expiring([history::resuming(), vec![failed]].concat(), Some(70));
    assert_eq!(web(&failed).may_resume(&NONE, at(70)), expired);
}

#[test]
fn settings_changed_keep_the_rest_and_do_not_restart_the_instance() {
    let tenancy = given(history::running())
        .when(settings(None, None, 10))
        .then_nothing()
        .when(settings(Some(OnLost::Wait), Some(None), 10))
        .then_nothing()
        .when(settings(Some(OnLost::Recreate), None, 10))
        .then(changed(OnLost::Recreate, None))
        .when(settings(None, Some(Some(90)), 10))
        .then(changed(OnLost::Recreate, Some(90)))
        .when(settings(Some(OnLost::Wait), None, 10))
        .then(changed(OnLost::Wait, Some(90)))
        .when(settings(None, Some(None), 10))
        .then(changed(OnLost::Wait, None));
    let instance = web(&tenancy);
    assert_eq!((instance.generation, instance.desired), (1, DesiredState::Running));
}

#[test]
fn settings_of_an_end_in_the_past_or_of_no_instance_are_refused() {
    let past = SettingsRejected::ExpiresInThePast;
    given(history::running()).when(settings(None, Some(Some(10)), 10)).then_rejected(past);
    // What has ended meanwhile does not keep other settings from being changed.
    let over = expiring(history::stopped(), Some(70));
    let over = over.when(settings(Some(OnLost::Recreate), None, 80)).then(changed(OnLost::Recreate, Some(70)));
    over.when(settings(None, Some(Some(70)), 80)).then_nothing();
    for history in [vec![], history::deleted(), history::abandoned()] {
        given(history).when(settings(None, Some(None), 10)).then_rejected(SettingsRejected::NotFound);
    }
    given(history::deleting()).when(settings(None, Some(None), 10)).then_rejected(SettingsRejected::Deleting);
}

/// A repeated request gets its first answer, also after the end that it asked for.
#[test]
fn request_that_ends_in_the_past_is_refused_unless_it_is_a_repetition() {
    let lifetime = Lifetime { expires_at: Some(at(70)), ..Lifetime::default() };
    let idempotency = Some(Idempotency { key: "key".to_owned(), request: "request".to_owned() });
    let request = |now| crate::tenancy::RequestInstance {
        lifetime,
        idempotency: idempotency.clone(),
        facts: facts(now),
        ..request(WEB)
    };
    given([]).when(request(70)).then_rejected(RequestRejected::ExpiresInThePast);
    let tenancy = given([]);
    let event = request(0).decide(&tenancy.state).unwrap();
    let tenancy = tenancy.and(event);
    assert_eq!(web(&tenancy).lifetime.set, lifetime);
    tenancy.when(request(70)).then_nothing();
}

fn limits() -> impl Strategy<Value = GroupLimits> {
    prop_oneof![Just(NONE), (5_u32..200, 0_i64..5_000).prop_map(|(minutes, since)| group(minutes, since))]
}

proptest! {
    /// Whatever moves the end, the stop is never decided before it, and always from then on.
    #[test]
    fn stop_is_decided_from_the_end_on_and_never_before(
        own in proptest::option::of(2_i64..10_000),
        change in proptest::option::of(proptest::option::of(2_i64..10_000)),
        limits in limits(),
        now in 0_i64..20_000,
    ) {
        let mut tenancy = expiring(history::running(), own);
        tenancy = change.into_iter().fold(tenancy, |tenancy, end| tenancy.and_at(40, changed(OnLost::Wait, end)));
        let end = [
            change.unwrap_or(own),
            limits.time_to_live.map(|limit| {
                let since = (limit.moved_by.at.millis() - at(0).millis()) / 1000;
                since.max(1) + i64::from(limit.minutes.get()) * 60
            }),
        ].into_iter().flatten().min();
        let decided = stop(limits, now).decide(&tenancy.state).unwrap();
        prop_assert_eq!(decided.is_some(), end.is_some_and(|end| end <= now), "{:?} at {}", end, now);
        prop_assert_eq!(web(&tenancy).stops_at(&limits).map(|stop| stop.at), end.map(at));
        if let Some(event) = decided {
            let stopped = tenancy.and([event, observed(2, Phase::Stopped, 2)]);
            prop_assert_eq!(web(&stopped).stops_at(&limits), None);
            prop_assert_eq!(web(&stopped).may_resume(&limits, at(now)), Err(ChangeRejected::Expired { at: at(end.unwrap()) }));
        }
    }

    /// A group only takes from what the owner set, and a later fact never makes the end earlier.
    #[test]
    fn stops_at_of_a_group_is_never_later_than_without_and_moves_only_to_later(
        own in proptest::option::of(2_i64..10_000),
        minutes in 5_u32..200,
        since in 0_i64..5_000,
        later in 0_i64..5_000,
    ) {
        let tenancy = expiring(history::running(), own);
        let ends = |limits| web(&tenancy).stops_at(&limits).map(|stop| stop.at);
        let (first, moved) = (ends(group(minutes, since)), ends(group(minutes, since + later)));
        prop_assert!(first <= moved && moved.is_some());
        prop_assert!(own.is_none_or(|own| first <= Some(at(own))));
    }
}
