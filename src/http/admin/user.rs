//! `GET /api/v2/admin/users/{userId}`: one user.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::AllGroups;
use dockhost_projections::instances::{Instances, SumBy};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::users::Users;

use super::user_view::AdminUser;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Path, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

error_responses!(UserErrors: ADMIN, READ_MODEL, &[Code::NotFound]);

/// Get a user
#[utoipa::path(
    get,
    path = "/api/v2/admin/users/{userId}",
    operation_id = "getUser",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id."), ReadPosition),
    responses(
        (status = 200, description = "The user.", body = Success<AdminUser>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        UserErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    position: ReadPosition,
) -> Result<Reply<AdminUser>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    let user = consistency::read::<Users, _>(&app, position, || app.store.user(user_id)).await?;
    let ids = [user_id.to_string()];
    let sum = || app.store.instance_sums(SumBy::Owner, &ids);
    let sums = consistency::read::<Instances, _>(&app, position, sum).await?;
    let principals = [user_id.into()];
    let last = || app.store.last_sign_ins(&principals);
    let last = consistency::read::<Sessions, _>(&app, position, last).await?;
    let since = user.stale_since.or(sums.stale_since).or(last.stale_since);
    let position = user.position(&app, user.value.iter().map(|user| user.seq));
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    let (sums, last) = (sums.value.values().next(), last.value.values().next().copied());
    let data = AdminUser::new(user.value.ok_or_else(not_found)?, &groups.state, sums, last);
    Ok(Reply::ok("the user", data).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn get_user_shows_the_role_and_what_they_use() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        app.running_instance(&ada, "web").await;
        let answer = app.get(&format!("/api/v2/admin/users/{}", ada.id)).token(&boss.token).send().await;
        let data = answer.data();
        assert_eq!(
            (&data["username"], &data["role"], &data["instances"]),
            (&json!("ada"), &json!("user"), &json!(1)),
            "{answer:?}"
        );
        assert_eq!((&data["cpu"], &data["memoryMib"]), (&json!(0.1), &json!(64)));
        let sign_in = data["lastSignInAt"].clone();
        assert!(sign_in.is_string(), "{answer:?}");
        // The answer to a command, which does not come from the read models.
        let path = format!("/api/v2/admin/users/{}/group", ada.id);
        let changed = app.put(&path, json!({})).token(&boss.token).send().await;
        assert_eq!((&changed.data()["cpu"], &changed.data()["lastSignInAt"]), (&json!(0.1), &sign_in), "{changed:?}");
    }

    #[tokio::test]
    async fn get_user_unknown_answers_not_found() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for id in ["boss", "0193b3a0-0000-7000-8000-000000000001", "%ff"] {
            let answer = app.get(&format!("/api/v2/admin/users/{id}")).token(&boss.token).send().await;
            assert_eq!(answer.error(), (404, "not_found"), "{id}");
        }
    }
}
