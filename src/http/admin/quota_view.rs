//! The quota of a user.

use dockhost_domain::group::Group;
use dockhost_domain::quota::Quota;
use dockhost_domain::tenancy::Tenancy;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::group_of::quota_of;
use crate::http::processors;

/// What the instances of a user may be and use in all, and what they are and use. Those that are not deleted count, also
/// stopped ones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserQuota {
    /// The most instances; null for no limit.
    #[schema(required)]
    instances: Option<u32>,
    /// The most processors; null for no limit.
    #[schema(required)]
    cpu: Option<f64>,
    /// The most memory in MiB; null for no limit.
    #[schema(required)]
    memory_mib: Option<u32>,
    /// Whether the number of instances is that of the user's group or of the server's configuration.
    is_default: bool,
    /// What an administrator set for this user alone.
    set: SetForUser,
    /// Instances.
    used: u32,
    /// Their processors.
    used_cpu: f64,
    /// Their memory in MiB.
    used_memory_mib: u64,
}

/// A quota of one user; null where nothing is set.
#[derive(Serialize, ToSchema)]
#[schema(as = SetQuota)]
#[serde(rename_all = "camelCase")]
struct SetForUser {
    #[schema(required)]
    instances: Option<u32>,
    #[schema(required)]
    cpu: Option<f64>,
    #[schema(required)]
    memory_mib: Option<u32>,
}

impl UserQuota {
    /// The quota that counts for a user.
    pub fn new(app: &App, tenancy: &Tenancy, group: Option<&Group>) -> Self {
        let cpu = |quota: Quota| quota.cpu_millis.map(|millis| processors::of_millis(millis.into()));
        let (quota, set, used) = (quota_of(app, tenancy, group), tenancy.quota(), tenancy.quota_use());
        Self {
            instances: quota.instances,
            cpu: cpu(quota),
            memory_mib: quota.memory_mib,
            is_default: set.instances.is_none(),
            set: SetForUser { instances: set.instances, cpu: cpu(set), memory_mib: set.memory_mib },
            used: used.instances,
            used_cpu: processors::of_millis(used.resources.cpu_millis),
            used_memory_mib: used.resources.memory_mib,
        }
    }
}
