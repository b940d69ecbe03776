//! `POST /api/v2/admin/users/{userId}/enable`: enables a disabled account. Its tests are those of `disable_user`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::administrators::ChangedBy;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_projections::users::Users;

use super::disable_user::rejected;
use super::user_view::AdminUser;
use crate::accounts::disable::enable;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(EnableUserErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Enable a user
///
/// The user can sign in again, and resume instances. Sessions that ended stay ended, and instances that were stopped stay
/// stopped.
#[utoipa::path(
    post,
    path = "/api/v2/admin/users/{userId}/enable",
    operation_id = "enableUser",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id."), Repeatable),
    responses(
        (status = 200, description = "The account is enabled.", body = Success<AdminUser>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        EnableUserErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    key: Repeatable,
) -> Result<Reply<AdminUser>, ApiError> {
    let user_id: UserId = user_id.parse().map_err(|_| ApiError::not_found("user"))?;
    let origin = key.origin(&app, Actor::Admin(admin));
    let sequence = enable(&app.executor, user_id, ChangedBy::Admin(admin), &origin)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    app.wait_until_projected::<Users>(sequence).await;
    let user = AdminUser::current(&app, user_id).await?;
    Ok(Reply::ok("the account is enabled", user).position(app.position(sequence)))
}
