//! `GET /api/v2/admin/users/{userId}/quota`: what the instances of a user may be and use in all, and what they do.
//!
//! It is read from the aggregate's state, not from a read model, so it is as current as the decisions that it bounds.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::ids::UserId;
use dockhost_domain::tenancy::Tenancy;

use super::quota_view::UserQuota;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::group_of::group_of;
use crate::http::response::documented::{ADMIN, STATE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(QuotaErrors: ADMIN, STATE, &[Code::NotFound]);

/// Get a user's quota
#[utoipa::path(
    get,
    path = "/api/v2/admin/users/{userId}/quota",
    operation_id = "getQuota",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    responses(
        (status = 200, description = "The quota.", body = Success<UserQuota>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        QuotaErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
) -> Result<Reply<UserQuota>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    if app.executor.confirmed::<Account>(user_id).await?.state.profile.is_none() {
        return Err(not_found());
    }
    let tenancy = app.executor.confirmed::<Tenancy>(user_id).await?;
    let data = UserQuota::new(&app, &tenancy.state, group_of(&app, user_id).await?.as_ref());
    Ok(Reply::ok("the quota of the user", data).position(app.position(tenancy.sequence)))
}
