//! The quota of one user.

use super::fixtures::*;
use crate::quota::{Quota, QuotaExceeded};
use crate::sizes::MIN_LIMITS;
use crate::tenancy::event::{CloseReason, Closed, Requested, TenancyEvent};
use crate::tenancy::{RequestInstance, RequestRejected, SetQuota, TenancyClosed};
use crate::testing::given;
use crate::wire::Limits;

const fn resources(cpu_millis: Option<u32>, memory_mib: Option<u32>) -> Quota {
    Quota { instances: None, cpu_millis, memory_mib }
}

/// A request where this quota is configured.
fn with_default(quota: Quota) -> RequestInstance {
    RequestInstance { quota, ..request(DB) }
}

fn request_accepted() -> TenancyEvent {
    TenancyEvent::Requested(requested(DB, "ada-container"))
}

#[test]
fn quota_set_counts_instead_of_the_configured_one_until_it_is_taken_back() {
    let exceeded = |limit| RequestRejected::QuotaExceeded(QuotaExceeded::Instances { limit, used: 1 });
    let none = Quota::default();
    for (default, quota, is_within) in
        [(at_most(5), 1, false), (at_most(1), 2, true), (none, 0, false), (at_most(0), 2, true)]
    {
        let tenancy =
            given(history::running()).and([TenancyEvent::QuotaSet(at_most(quota))]).when(with_default(default));
        if is_within {
            tenancy.then(request_accepted());
        } else {
            tenancy.then_rejected(exceeded(quota));
        }
    }
    let taken_back = [at_most(9), none].map(TenancyEvent::QuotaSet);
    given(history::running()).and(taken_back).when(with_default(at_most(1))).then_rejected(exceeded(1));
}

/// Each instance of the histories has [`LIMITS`], as the requested one has.
#[test]
fn quota_of_resources_counts_all_instances_that_are_not_deleted() {
    let (cpu, memory) = (LIMITS.cpu_millis, LIMITS.memory_mib);
    for history in
        [history::creating(), history::running(), history::stopped(), history::never_created(), history::deleting()]
    {
        let (limit, used, asked) = (2 * cpu - 1, cpu.into(), cpu.into());
        given(history.clone())
            .when(with_default(resources(Some(limit), None)))
            .then_rejected(RequestRejected::QuotaExceeded(QuotaExceeded::Cpu { limit, used, asked }));
        let (limit, used, asked) = (2 * memory - 1, memory.into(), memory.into());
        given(history.clone())
            .when(with_default(resources(None, Some(limit))))
            .then_rejected(RequestRejected::QuotaExceeded(QuotaExceeded::Memory { limit, used, asked }));
        given(history).when(with_default(resources(Some(2 * cpu), Some(2 * memory)))).then(request_accepted());
    }
    given(history::deleted()).when(with_default(resources(Some(cpu), Some(memory)))).then(request_accepted());
}

#[test]
fn quota_of_resources_leaves_room_for_a_smaller_instance() {
    let limits = Limits { pids: LIMITS.pids, ..MIN_LIMITS };
    let quota = resources(Some(LIMITS.cpu_millis + MIN_LIMITS.cpu_millis), Some(LIMITS.memory_mib * 2));
    let smaller = RequestInstance { limits, ..with_default(quota) };
    let accepted = TenancyEvent::Requested(Requested { limits, ..requested(DB, "ada-container") });
    given(history::running()).when(smaller).then(accepted);
}

/// A member that is not set for the user is as their group or the configuration has it.
#[test]
fn quota_set_of_one_member_leaves_the_others_as_configured() {
    let default = Quota { instances: Some(1), ..resources(None, Some(LIMITS.memory_mib)) };
    let set = |quota| given(history::running()).and([TenancyEvent::QuotaSet(quota)]).when(with_default(default));
    let exceeded = |exceeded| RequestRejected::QuotaExceeded(exceeded);
    set(resources(Some(9000), None)).then_rejected(exceeded(QuotaExceeded::Instances { limit: 1, used: 1 }));
    let (limit, used, asked) = (LIMITS.memory_mib, LIMITS.memory_mib.into(), LIMITS.memory_mib.into());
    set(at_most(2)).then_rejected(exceeded(QuotaExceeded::Memory { limit, used, asked }));
    set(Quota { instances: Some(2), ..resources(None, Some(2 * LIMITS.memory_mib)) }).then(request_accepted());
}

#[test]
fn quota_set_twice_or_of_an_erased_user_changes_nothing() {
    let (some, other) = (at_most(3), Quota { instances: Some(3), ..resources(Some(500), None) });
    given([])
        .when(SetQuota(Quota::default()))
        .then_nothing()
        .when(SetQuota(some))
        .then(TenancyEvent::QuotaSet(some))
        .when(SetQuota(some))
        .then_nothing()
        .when(SetQuota(other))
        .then(TenancyEvent::QuotaSet(other))
        .when(SetQuota(Quota::default()))
        .then(TenancyEvent::QuotaSet(Quota::default()));
    given([TenancyEvent::Closed(Closed { reason: CloseReason::Erased })])
        .when(SetQuota(some))
        .then_rejected(TenancyClosed);
}
