//! The quota of one user.

use super::fixtures::*;
use crate::tenancy::event::{CloseReason, Closed, QuotaSet, TenancyEvent};
use crate::tenancy::{RequestInstance, RequestRejected, SetQuota, TenancyClosed};
use crate::testing::given;

fn set(instances: Option<u32>) -> TenancyEvent {
    TenancyEvent::QuotaSet(QuotaSet { instances })
}

/// A request where this many instances are configured.
fn with_default(quota: Option<u32>) -> RequestInstance {
    RequestInstance { quota, ..request(DB) }
}

#[test]
fn quota_set_counts_instead_of_the_configured_one_until_it_is_taken_back() {
    let exceeded = |limit| RequestRejected::QuotaExceeded { limit, used: 1 };
    let requested = || TenancyEvent::Requested(requested(DB, "ada-container"));
    for (default, quota, is_within) in
        [(Some(5), Some(1), false), (Some(1), Some(2), true), (None, Some(0), false), (Some(0), Some(2), true)]
    {
        let tenancy = given(history::running()).and([set(quota)]).when(with_default(default));
        if is_within {
            tenancy.then(requested());
        } else {
            tenancy.then_rejected(exceeded(quota.unwrap()));
        }
    }
    given(history::running()).and([set(Some(9)), set(None)]).when(with_default(Some(1))).then_rejected(exceeded(1));
}

#[test]
fn quota_set_twice_or_of_an_erased_user_changes_nothing() {
    given([])
        .when(SetQuota(QuotaSet { instances: None }))
        .then_nothing()
        .when(SetQuota(QuotaSet { instances: Some(3) }))
        .then(set(Some(3)))
        .when(SetQuota(QuotaSet { instances: Some(3) }))
        .then_nothing()
        .when(SetQuota(QuotaSet { instances: None }))
        .then(set(None));
    given([TenancyEvent::Closed(Closed { reason: CloseReason::Erased })])
        .when(SetQuota(QuotaSet { instances: Some(3) }))
        .then_rejected(TenancyClosed);
}
