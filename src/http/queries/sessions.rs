//! `GET /api/v2/user/sessions`: the caller's sessions.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::SessionId;
use dockhost_domain::personal::Personal;
use dockhost_domain::reported::ShortText;
use dockhost_domain::session::Sessions as LiveSessions;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::sessions::{SessionDocument, Sessions};
use serde::Serialize;
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::admin::list::{self, ArrayPage};
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentUser, Query, ReadPosition};
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};

/// A session: a sign-in whose token is valid.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    #[schema(value_type = Uuid)]
    id: SessionId,
    /// When the user signed in.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When its token expires; if it has a refresh token, when it ends if it is not refreshed.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether the request was made with it.
    is_current: bool,
    /// Where the user signed in: an IP address, or the network of an IPv6 address. Null for sign-ins of earlier releases.
    #[schema(required)]
    address: Option<String>,
    /// The beginning of the `User-Agent` of the sign-in.
    #[schema(required)]
    device: Option<String>,
}

error_responses!(SessionsErrors: CALLER, READ_MODEL, &[Code::ValidationFailed]);

/// List your sessions
///
/// The newest first, without those that have ended or expired, and without API tokens.
#[utoipa::path(
    get,
    path = "/api/v2/user/sessions",
    operation_id = "listSessions",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage, ReadPosition),
    responses(
        (status = 200, description = "The sessions.", body = Success<Vec<Session>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        SessionsErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<Session>>, ApiError> {
    let page = page.page::<SessionId>()?;
    // The session of the request may have started a moment ago.
    let known = app.executor.state::<LiveSessions>(user_id.into()).await?;
    app.wait_until_projected::<Sessions>(known.sequence).await;
    let now = clock::now();
    let read = || app.store.sessions_of(user_id.into(), now);
    let shown = consistency::read::<Sessions, _>(&app, position, read).await?;
    // API tokens have a list of their own.
    let mut sign_ins: Vec<_> = shown.value.iter().collect();
    sign_ins.retain(|session| !known.state.is_token(session.session_id));
    // Ids begin with the time.
    sign_ins.sort_unstable_by_key(|session| Reverse(session.session_id));
    let is_older = |session: &&SessionDocument, than: &SessionId| session.session_id < *than;
    let (sign_ins, next) = list::part(page.as_ref(), sign_ins.into_iter(), |session| session.session_id, is_older);
    let text = |text: &Personal<ShortText>| text.plain().map(ToString::to_string);
    let sessions = sign_ins.into_iter().map(|session| {
        // Not in the read model: nobody but the user is to read it.
        let client = known.state.client(session.session_id);
        Session {
            id: session.session_id,
            started_at: session.started_at,
            expires_at: session.expires_at,
            is_current: session.session_id == session_id,
            address: client.and_then(|client| text(&client.address)),
            device: client.and_then(|client| text(client.device.as_ref()?)),
        }
    });
    let position = shown.position(&app, shown.value.iter().map(|document| document.seq));
    let reply = Reply::ok("your sessions", sessions.collect::<Vec<_>>());
    Ok(reply.next_page(page.as_ref(), next).stale(shown.stale_since).position(position))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{PASSWORD, TestApp};

    #[tokio::test]
    async fn list_sessions_has_the_callers_live_ones_the_newest_first() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        app.user("eve").await;
        let sign_in = async || {
            let answer =
                app.post("/api/v2/user/signin", json!({ "username": "ada", "password": PASSWORD })).send().await;
            answer.data()["accessToken"].as_str().unwrap().to_owned()
        };
        let (ended, last) = (sign_in().await, sign_in().await);
        app.post("/api/v2/user/signout", json!({})).token(&ended).send().await;
        let current = async |token: &str| {
            let answer = app.get("/api/v2/user/sessions").token(token).send().await;
            let sessions = answer.data().as_array().unwrap().clone();
            sessions.iter().map(|session| session["isCurrent"].as_bool().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((current(&user.token).await, current(&last).await), (vec![false, true], vec![true, false]));
    }
    #[tokio::test]
    async fn list_sessions_in_pages_has_each_once_also_if_one_ends_meanwhile() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        for _ in 0..4 {
            app.start_session(user.id.into()).await;
        }
        let get = async |query: &str| app.get(&format!("/api/v2/user/sessions{query}")).token(&user.token).send().await;
        let all = get("").await.data().as_array().unwrap().clone();
        let pages = crate::http::testing::pages(&get, "?limit=2").await;
        assert_eq!((pages.len(), pages.concat()), (3, all.clone()));
        // The cursor is the id of a session that has ended.
        let last = all[1]["id"].as_str().unwrap();
        let path = format!("/api/v2/user/sessions/{last}");
        app.request(axum::http::Method::DELETE, &path).token(&user.token).send().await;
        let rest = get(&format!("?cursor={last}")).await;
        assert_eq!((rest.header("link"), rest.data().as_array().unwrap()), (None, &all[2..].to_vec()));
        assert_eq!(get("?limit=0").await.error(), (422, "validation_failed"));
    }

    #[tokio::test]
    async fn list_sessions_tells_where_the_caller_signed_in() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let body = json!({ "username": "ada", "password": PASSWORD });
        let request = app.post("/api/v2/user/signin", body).header("user-agent", "Firefox/140").peer("198.51.100.7");
        let token = request.send().await.data()["accessToken"].as_str().unwrap().to_owned();
        let listed = app.get("/api/v2/user/sessions").token(&token).send().await;
        let sessions = listed.data().as_array().unwrap();
        assert_eq!((&sessions[0]["address"], &sessions[0]["device"]), (&json!("198.51.100.7"), &json!("Firefox/140")));
        assert_eq!(sessions.len(), 2);
        let exported = app.get("/api/v2/user/me/export").token(&user.token).send().await.data().to_string();
        assert!(exported.contains("198.51.100.7"), "{exported}");
    }
}
