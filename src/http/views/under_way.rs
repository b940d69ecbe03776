//! The change of an instance that is under way.

use dockhost_domain::tenancy::{self, Progress};
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::common::clock;

/// A change that is under way: when it began, and when it ends at the latest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InstanceUnderWay)]
pub struct UnderWay {
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// It may rise while another backend is tried.
    #[schema(value_type = String, format = DateTime)]
    deadline: Timestamp,
}

impl UnderWay {
    /// `None` if nothing is under way.
    pub fn of(instance: &tenancy::Instance) -> Option<Self> {
        let Progress::Pending { operation, deadline, .. } = &instance.progress else { return None };
        // Without a request, its container changed by itself: that was the last change.
        let requested_at = operation.and_then(|operation| clock::made_at(operation.uuid()));
        Some(Self { since: requested_at.unwrap_or(instance.last_activity).min(*deadline), deadline: *deadline })
    }
}
