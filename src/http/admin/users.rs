//! `GET /api/v2/admin/users`: all users, with what they use and their last sign-in.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::group::Groups;
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::AllGroups;
use dockhost_projections::instances::{Instances, SumBy};
use dockhost_projections::sessions::Sessions;
use dockhost_projections::users::{UserDocument, UserFilter, Users};
use serde::Deserialize;

use super::list::{self, List};
use super::user_view::{AdminUser, UserState};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Query, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Role;

/// Which users.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct UsersParameters {
    /// A part of the username or the email address, whatever the case of its letters.
    #[param(max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    search: Option<String>,
    role: Option<Role>,
    /// By default all who are not erased.
    state: Option<UserState>,
    /// The id of their group.
    #[param(value_type = Option<Uuid>)]
    group: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

error_responses!(UsersErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// List users
///
/// The oldest account first.
#[utoipa::path(
    get,
    path = "/api/v2/admin/users",
    operation_id = "listUsers",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(UsersParameters, ReadPosition),
    responses(
        (status = 200, description = "The users.", body = Success<List<AdminUser>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        UsersErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(parameters): Query<UsersParameters>,
) -> Result<Reply<List<AdminUser>>, ApiError> {
    let UsersParameters { search, role, state, group, limit, cursor } = parameters;
    let page = list::page(limit, cursor.as_deref())?;
    let search = list::search(search)?;
    let group = group.map(|id| list::parameter("group", &id, "is not the id of a group")).transpose()?;
    let filter = UserFilter { search, role: role.map(Into::into), state: state.map(Into::into), group };
    let users = consistency::read::<Users, _>(&app, position, || app.store.users(&filter, page)).await?;
    let ids: Vec<String> = users.value.iter().map(|user| user.user_id.to_string()).collect();
    let sum = || app.store.instance_sums(SumBy::Owner, &ids);
    let sums = consistency::read::<Instances, _>(&app, position, sum).await?;
    let principals: Vec<PrincipalId> = users.value.iter().map(|user| user.user_id.into()).collect();
    let last = || app.store.last_sign_ins(&principals);
    let last = consistency::read::<Sessions, _>(&app, position, last).await?;
    let since = users.stale_since.or(sums.stale_since).or(last.stale_since);
    let position = users.position(&app, users.value.iter().map(|user| user.seq));
    let groups = app.executor.state::<Groups>(AllGroups).await?;
    let view = |user: UserDocument| {
        let sums = sums.value.get(&user.user_id.to_string());
        let last = last.value.get(&PrincipalId::from(user.user_id)).copied();
        AdminUser::new(user, &groups.state, sums, last)
    };
    let list = List::new(&page, users.value, since, |user| user.user_id, view);
    Ok(Reply::ok("the users", list).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, TestApp};

    fn names(answer: &Answer) -> Vec<&str> {
        let items = answer.data()["items"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        items.iter().map(|user| user["username"].as_str().unwrap_or_default()).collect()
    }

    #[tokio::test]
    async fn list_users_has_role_state_use_and_last_sign_in() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        app.running_instance(&ada, "web").await;
        app.running_instance(&ada, "db").await;
        let answer = app.get("/api/v2/admin/users").token(&boss.token).send().await;
        assert_eq!((names(&answer), &answer.data()["nextCursor"]), (vec!["boss", "ada"], &Value::Null));
        let shown = &answer.data()["items"][1];
        let expected = json!({
            "id": ada.id.to_string(), "username": "ada", "email": "ada@example.org", "role": "user", "state": "active",
            "createdAt": shown["createdAt"], "disabledAt": null, "disabledReason": null, "group": null, "instances": 2,
            "cpu": 0.2, "memoryMib": 128, "lastSignInAt": shown["lastSignInAt"],
        });
        assert!(shown["lastSignInAt"].is_string(), "{answer:?}");
        assert_eq!(shown, &expected);
        let admin = &answer.data()["items"][0];
        assert_eq!((&admin["role"], &admin["instances"]), (&json!("admin"), &json!(0)));
    }

    #[tokio::test]
    async fn list_users_is_filtered_and_in_pages() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for name in ["ada", "adam", "eve", "a-da"] {
            app.user(name).await;
        }
        let get = |query: &str| app.get(&format!("/api/v2/admin/users?{query}")).token(&boss.token).send();
        for (query, expected) in [
            ("search=ADA", &["ada", "adam"][..]),
            ("search=a-d", &["a-da"]),
            ("search=eve@example", &["eve"]),
            ("search=.*", &[]),
            ("role=admin", &["boss"]),
            ("role=user&search=ev", &["eve"]),
            ("state=erased", &[]),
            ("state=active&search=boss", &["boss"]),
        ] {
            assert_eq!(names(&get(query).await), expected, "{query}");
        }
        let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let answer = get(&format!("limit=2{cursor}")).await;
            all.extend(names(&answer).into_iter().map(str::to_owned));
            pages += 1;
            let Some(next) = answer.data()["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((all, pages), (["boss", "ada", "adam", "eve", "a-da"].map(str::to_owned).to_vec(), 3));
    }

    #[tokio::test]
    async fn list_users_with_an_invalid_parameter_is_refused() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for query in [
            "limit=0",
            "limit=201",
            "limit=x",
            "cursor=x",
            "role=root",
            "state=gone",
            "group=x",
            "search=%00",
            "search=a%0Ab",
        ] {
            let answer = app.get(&format!("/api/v2/admin/users?{query}")).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{query}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn list_users_says_what_it_lacks() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        app.store.set_stale_since(7);
        let answer = app.get("/api/v2/admin/users").token(&boss.token).send().await;
        assert_eq!((answer.header("dockhost-stale"), &answer.data()["stale"]), (Some("7"), &json!({ "since": 7 })));
    }
}
