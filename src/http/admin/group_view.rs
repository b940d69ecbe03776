//! A group, as administrators see it.

use dockhost_domain::aggregate::Command;
use dockhost_domain::group::{GroupState, Groups};
use dockhost_domain::ids::GroupId;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::extract::IfMatch;
use crate::http::processors;
use crate::http::version::{OnVersion, Version};

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

/// A command on a group, if that has a version that the caller has seen.
pub fn on_version<C: Command<Aggregate = Groups> + 'static>(
    id: GroupId,
    if_match: IfMatch,
    command: C,
) -> OnVersion<C, impl Fn(&Groups) -> Option<Version> + Send + Sync + 'static> {
    OnVersion { if_match, version: move |groups: &Groups| groups.get(id).map(Version::of), command }
}
