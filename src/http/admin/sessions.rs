//! `GET /api/v2/admin/sessions`: the sessions of everybody.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::{BackendId, PrincipalId, SessionId, UserId};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::sessions::{SessionFilter, Sessions};
use dockhost_projections::users::Users;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::{self, List};
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentAdmin, Query, ReadPosition};
use crate::http::response::documented::{ADMIN, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// Which sessions.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AllSessionsParameters {
    /// The id of their user or backend.
    #[param(value_type = Option<Uuid>)]
    user: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

/// A session of anybody: a sign-in whose token is valid, or an API token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnySession {
    #[schema(value_type = Uuid)]
    id: SessionId,
    owner: SessionOwner,
    /// Whether it is an API token.
    is_token: bool,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When its token expires; if it has a refresh token, when it ends if it is not refreshed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Whose session it is.
#[derive(Serialize, ToSchema)]
struct SessionOwner {
    kind: OwnerKind,
    #[schema(value_type = Uuid)]
    id: PrincipalId,
    /// Null once the user is erased.
    #[schema(required)]
    username: Option<String>,
}

/// Who can have a session.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OwnerKind {
    User,
    Backend,
}

error_responses!(AllSessionsErrors: ADMIN, READ_MODEL, &[Code::ValidationFailed]);

/// List all sessions
///
/// Those of all users and backends that have not ended or expired, and the API tokens, the newest first. Where their users
/// signed in is not shown: only the user sees that.
#[utoipa::path(
    get,
    path = "/api/v2/admin/sessions",
    operation_id = "listAllSessions",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(AllSessionsParameters, ReadPosition),
    responses(
        (status = 200, description = "The sessions.", body = Success<List<AnySession>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        AllSessionsErrors,
    ),
)]
pub async fn get(
    CurrentAdmin { .. }: CurrentAdmin,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(parameters): Query<AllSessionsParameters>,
) -> Result<Reply<List<AnySession>>, ApiError> {
    let page = list::page::<SessionId>(parameters.limit, parameters.cursor.as_deref())?;
    let user = parameters.user.as_deref();
    let principal = user.map(|id| list::parameter("user", id, "is not the id of a user or backend")).transpose()?;
    let filter = SessionFilter { principal, now: clock::now() };
    let found = consistency::read::<Sessions, _>(&app, position, || app.store.sessions_of_all(&filter, page)).await?;
    let as_user = |principal: PrincipalId| UserId::from_uuid(principal.uuid());
    let owners = || app.store.usernames(found.value.iter().map(|session| as_user(session.principal_id)).collect());
    let owners = consistency::read::<Users, _>(&app, position, owners).await?;
    let owner = |id: PrincipalId| {
        let backend = BackendId::from_uuid(id.uuid());
        if app.follower.fleet().machine(backend).is_some() {
            return SessionOwner { kind: OwnerKind::Backend, id, username: app.backend_name(backend) };
        }
        let username = owners.value.get(&as_user(id)).map(ToString::to_string);
        SessionOwner { kind: OwnerKind::User, id, username }
    };
    let since = found.stale_since.or(owners.stale_since);
    let position = found.position(&app, found.value.iter().map(|session| session.seq));
    let list = List::new(
        &page,
        found.value,
        since,
        |session| session.session_id,
        |session| AnySession {
            id: session.session_id,
            owner: owner(session.principal_id),
            is_token: session.is_token,
            started_at: session.started_at,
            expires_at: session.expires_at,
        },
    );
    Ok(Reply::ok("the sessions", list).stale(since).position(position))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::envelope::Actor;
    use serde_json::json;

    use crate::http::testing::TestApp;
    use crate::http::views::TokenScope;

    const PATH: &str = "/api/v2/admin/sessions";

    #[tokio::test]
    async fn list_all_sessions_has_those_of_everybody_the_newest_first_in_pages() {
        let app = TestApp::new().await;
        let (ada, lab) = (app.user("ada").await, app.backend("lab-1", 5).await);
        let (token, _) = app.api_token(&ada, TokenScope::Read).await;
        let boss = app.admin("boss").await;
        let list = async |query: &str| app.get(&format!("{PATH}{query}")).token(&boss.token).send().await;
        let all = list("").await.data()["items"].as_array().unwrap().clone();
        let owner = |kind: &str, id: String, name: &str| json!({ "kind": kind, "id": id, "username": name });
        let expected = [
            (owner("user", boss.id.to_string(), "boss"), false),
            (owner("user", ada.id.to_string(), "ada"), true),
            (owner("backend", lab.id.to_string(), "lab-1"), false),
            (owner("user", ada.id.to_string(), "ada"), false),
        ];
        let shown = all.iter().map(|one| (one["owner"].clone(), one["isToken"] == true));
        assert_eq!(shown.collect::<Vec<_>>(), expected);

        let of_ada = list(&format!("?user={}", ada.id)).await.data()["items"].clone();
        assert_eq!(of_ada, json!([all[1], all[3]]));
        assert_eq!(of_ada[0]["id"], token.to_string());
        let mut paged = Vec::new();
        let mut query = "?limit=3".to_owned();
        loop {
            let page = list(&query).await;
            paged.extend(page.data()["items"].as_array().unwrap().clone());
            let Some(cursor) = page.data()["nextCursor"].as_str() else { break };
            query = format!("?limit=3&cursor={cursor}");
        }
        assert_eq!(paged, all);
        for query in ["?user=ada", "?limit=0", "?cursor=x"] {
            assert_eq!(list(query).await.error(), (422, "validation_failed"), "{query}");
        }
    }

    #[tokio::test]
    async fn end_any_session_ends_that_one_alone_and_is_in_the_log_as_the_administrators() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let (other, _) = app.start_session(ada.id.into()).await;
        let (token, secret) = app.api_token(&ada, TokenScope::All).await;
        let end = |id: &str| app.request(Method::DELETE, &format!("{PATH}/{id}")).token(&boss.token);
        let status = async |token: &str| app.get("/api/v2/user/instance").token(token).send().await.status;
        for id in [other, token] {
            // Also if it has ended.
            for _ in 0..2 {
                let ended = end(&id.to_string()).send().await;
                assert_eq!(ended.status, 200, "{ended:?}");
            }
        }
        let actor = app.log.events().last().unwrap().envelope.origin.actor;
        assert_eq!(actor, Actor::Admin(boss.id));
        assert_eq!((status(&secret).await, status(&ada.token).await), (401, 200));
        let left = app.get(&format!("{PATH}?user={}", ada.id)).token(&boss.token).send().await;
        assert_eq!(left.data()["items"].as_array().map(Vec::len), Some(1));
        for id in ["mine", "0193b3a0-0000-7000-8000-000000000001"] {
            assert_eq!(end(id).send().await.error(), (404, "not_found"), "{id}");
        }
    }
}
