//! The quota of a user.

use dockhost_domain::group::Group;
use dockhost_domain::tenancy::Tenancy;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::group_of::quota_of;

/// How many instances a user may have.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserQuota {
    /// The most instances that are not deleted; null for no limit.
    #[schema(required)]
    instances: Option<u32>,
    /// Whether it is that of the user's group or of the server's configuration.
    is_default: bool,
    /// Instances that are not deleted.
    used: u64,
}

impl UserQuota {
    /// The quota that counts for a user.
    pub fn new(app: &App, tenancy: &Tenancy, group: Option<&Group>) -> Self {
        Self {
            instances: quota_of(app, tenancy, group),
            is_default: tenancy.quota().is_none(),
            used: tenancy.existing().count() as u64,
        }
    }
}
