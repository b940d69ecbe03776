//! A group, as administrators see it.

use dockhost_domain::group::GroupState;
use dockhost_domain::ids::GroupId;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::processors;

/// A group of users, such as a class.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    #[schema(value_type = Uuid)]
    id: GroupId,
    /// Unique among groups without regard to case.
    name: String,
    /// The most instances of each member; null for that of the server's configuration.
    #[schema(required)]
    max_instances: Option<u32>,
    /// The most processors that the instances of each member may use in all; null for no limit.
    #[schema(required)]
    max_cpu: Option<f64>,
    /// The most memory that they may use in all, in MiB; null for no limit.
    #[schema(required)]
    max_memory_mib: Option<u32>,
    /// When the members' instances are stopped, and can't be resumed or created any more; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ends_at: Option<Timestamp>,
    /// For how many minutes an instance of a member may run; null for no limit.
    #[schema(value_type = Option<u32>, required)]
    time_to_live_minutes: Option<Minutes>,
    /// After how many minutes without an SSH connection an instance of a member is stopped; null for never.
    #[schema(value_type = Option<u32>, required)]
    autostop_minutes: Option<Minutes>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl Group {
    /// The group.
    pub fn new(id: GroupId, state: &GroupState) -> Self {
        Self {
            id,
            name: state.group.name.to_string(),
            max_instances: state.group.max_instances,
            max_cpu: state.group.max_cpu_millis.map(|millis| processors::of_millis(millis.into())),
            max_memory_mib: state.group.max_memory_mib,
            ends_at: state.group.ends_at,
            time_to_live_minutes: state.group.time_to_live_minutes,
            autostop_minutes: state.group.autostop_minutes,
            created_at: state.created_at,
        }
    }
}
