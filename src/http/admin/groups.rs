//! `GET /api/v2/admin/groups`: the groups. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::group::Groups;
use dockhost_domain::subject::AllGroups;
use serde::Deserialize;

use super::group_view::Group;
use super::list::{self, List, MAX_LIMIT};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Query};
use crate::http::response::documented::{ADMIN, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which groups.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct GroupsParameters {
    /// A part of the name, whatever the case of its letters.
    #[param(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    search: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

impl GroupsParameters {
    /// The longest page after a cursor.
    pub const fn after(cursor: Option<String>) -> Self {
        Self { search: None, limit: Some(MAX_LIMIT), cursor }
    }
}

error_responses!(GroupsErrors: ADMIN, &[Code::ValidationFailed]);

/// List groups
///
/// The oldest first. `GET /api/v2/admin/users?group=…` lists the members of one.
#[utoipa::path(
    get,
    path = "/api/v2/admin/groups",
    operation_id = "listGroups",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(GroupsParameters),
    responses(
        (status = 200, description = "The groups.", body = Success<List<Group>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        GroupsErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Query(GroupsParameters { search, limit, cursor }): Query<GroupsParameters>,
) -> Result<Reply<List<Group>>, ApiError> {
    let (page, search) = (list::page(limit, cursor.as_deref())?, list::search(search)?);
    let groups = app.executor.confirmed::<Groups>(AllGroups).await?;
    let found = groups.state.iter().filter(|(_, one)| list::contains(one.group.name.as_str(), search.as_deref()));
    let list = List::of_all(&page, found, |(id, _)| *id, |(id, one)| Group::new(id, one));
    Ok(Reply::ok("the groups", list).position(app.position(groups.sequence)))
}
