//! `PATCH /api/v2/admin/groups/{groupId}`: renames a group, or changes its quota, its end or how long its members' instances may
//! run.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::group::ChangeGroup;
use dockhost_domain::ids::GroupId;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::names::GroupName;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::timestamp::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create_group::rejected;
use super::group_view::{Group, on_version};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, IfMatch, IfNoneMatch, Path, given};
use crate::http::processors::Processors;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::Version;

/// What to change; what is absent stays as it is.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "maxInstances": 3, "endsAt": "2027-07-15T18:00:00Z" })))]
pub struct ChangeGroupRequest {
    /// Unique among groups without regard to case; not a UUID, and without a space at its ends.
    #[garde(skip)]
    #[schema(
        value_type = Option<String>,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
    )]
    name: Option<GroupName>,
    /// The most instances of each member; null for that of the server's configuration.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(inner(range(max = 10_000))))]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 10_000)]
    max_instances: Option<Option<u32>>,
    /// The most processors that the instances of each member may use in all, with at most three decimals; null for no limit.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    max_cpu: Option<Option<Processors>>,
    /// The most memory that they may use in all, in MiB; null for no limit.
    #[serde(default, deserialize_with = "given")]
    #[garde(inner(inner(range(max = 1_000_000_000))))]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 1_000_000_000)]
    max_memory_mib: Option<Option<u32>>,
    /// When the members' instances are stopped, and can't be resumed or created any more; null for never.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Option<Timestamp>>,
    /// For how many minutes an instance of a member may run, as in the request that creates a group; null for no limit.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    time_to_live_minutes: Option<Option<Minutes>>,
    /// After how many minutes without an SSH connection an instance of a member is stopped; null for never.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 527_040)]
    autostop_minutes: Option<Option<Minutes>>,
}

error_responses!(ChangeGroupErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::NotFound, Code::GroupNameTaken]);

/// Change a group
///
/// Its name, the quota of each member, its end, or how long an instance of a member may run. The members keep the instances that
/// they have beyond a lower quota. Within a minute after its end, their instances are stopped.
#[utoipa::path(
    patch,
    path = "/api/v2/admin/groups/{groupId}",
    operation_id = "changeGroup",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("groupId" = Uuid, Path, description = "The group's id."), IfMatch),
    request_body = Option<ChangeGroupRequest>,
    responses(
        (status = 200, description = "The group as it is now.", body = Success<Group>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        ChangeGroupErrors,
    ),
)]
pub async fn patch(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    if_match: IfMatch,
    Body(request): Body<ChangeGroupRequest>,
) -> Result<Reply<Group>, ApiError> {
    let not_found = || ApiError::not_found("group");
    let group_id: GroupId = group.parse().map_err(|_| not_found())?;
    let ChangeGroupRequest {
        name,
        max_instances,
        max_cpu,
        max_memory_mib,
        ends_at,
        time_to_live_minutes,
        autostop_minutes,
    } = request;
    let command = ChangeGroup {
        group_id,
        name,
        max_instances,
        max_cpu_millis: max_cpu.map(|limit| limit.map(Processors::millis)),
        max_memory_mib,
        ends_at,
        time_to_live_minutes,
        autostop_minutes,
    };
    let done = app
        .executor
        .execute(AllGroups, app.origin(Actor::Admin(admin)), on_version(group_id, if_match, command))
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(rejected)))?;
    let group = done.current.state.get(group_id).ok_or_else(not_found)?;
    let reply = Reply::ok("the group", Group::new(group_id, group)).version(Version::of(group), IfNoneMatch::default());
    Ok(reply.position(app.position(done.current.sequence)))
}
