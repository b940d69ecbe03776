//! `POST /api/v2/user/tokens`: makes an API token. It is a session with a name and a scope, so it ends as sessions do.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::SessionId;
use dockhost_domain::names::DisplayName;
use dockhost_domain::session::{CreateToken, CreateTokenRejected, TokenDetails};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::token::Bearer;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, Repeatable, SignedInUser};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::{ApiToken, TokenScope};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_DAYS: u16 = 90;

/// What the token is for.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "name": "backup script", "scope": "read", "validForDays": 30 })))]
pub struct CreateTokenRequest {
    /// For you to recognise it. Names may repeat.
    #[garde(skip)]
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"
    )]
    name: DisplayName,
    #[garde(skip)]
    scope: TokenScope,
    /// For how long it is valid; 90 days by default.
    #[garde(range(min = 1, max = 365))]
    #[schema(minimum = 1, maximum = 365, default = 90)]
    valid_for_days: Option<u16>,
}

/// A token and what is known of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    token: ApiToken,
    /// Send it as `Authorization: Bearer …`. It is not shown again.
    access_token: String,
}

error_responses!(
    CreateTokenErrors: CALLER_OF_COMMAND, BODY, COMMAND, REPEATABLE, &[Code::NotFound, Code::TooManyTokens]
);

fn rejected(rejection: &CreateTokenRejected) -> ApiError {
    match rejection {
        CreateTokenRejected::TooMany => ApiError::new(Code::TooManyTokens, rejection.to_string()),
        // The session of the request has ended as well.
        CreateTokenRejected::NoSession(_) => ApiError::new(Code::Unauthorized, "sign in first"),
    }
}

/// Create an API token
///
/// For programs that act in your name. It works like the token of a sign-in, within its scope, until it expires or is
/// revoked.
#[utoipa::path(
    post,
    path = "/api/v2/user/tokens",
    operation_id = "createToken",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = CreateTokenRequest,
    responses(
        (status = 201, description = "The token.", body = Success<CreatedToken>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of its creation in the log."),
        )),
        CreateTokenErrors,
    ),
)]
pub async fn post(
    SignedInUser { user_id, session_id: current }: SignedInUser,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(CreateTokenRequest { name, scope, valid_for_days }): Body<CreateTokenRequest>,
) -> Result<Reply<CreatedToken>, ApiError> {
    let now = clock::now();
    let expires_at = now.after(DAY.saturating_mul(valid_for_days.unwrap_or(DEFAULT_DAYS).into()));
    let session_id = SessionId::from_uuid(clock::fresh_uuid());
    let details = TokenDetails { name: name.into(), scope: scope.into() };
    let origin = key.origin_of_new(&app, Actor::User(user_id), session_id.uuid());
    let done = app
        .executor
        .execute(user_id.into(), origin, CreateToken { session_id, expires_at, details, now })
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    let session_id = done.created(session_id, SessionId::from_uuid);
    let created = done.current.state.tokens(now).find(|(id, ..)| *id == session_id);
    // A repeated request may come after the token was revoked.
    let (id, created, expires_at) = created.ok_or_else(|| ApiError::not_found("token"))?;
    // It is derived from these, so that a repeated request gets the same one.
    let bearer = Bearer { principal: user_id.into(), session: id };
    let token = app.user_tokens.issue_api_token(bearer, created.created_at, expires_at);
    let token = token.map_err(|error| ApiError::internal(&error))?;
    let data = CreatedToken {
        token: ApiToken::new(id, created, expires_at, current),
        access_token: token.expose_secret().to_owned(),
    };
    Ok(Reply::created("the token is created", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, PASSWORD, TestApp};

    const PATH: &str = "/api/v2/user/tokens";

    async fn create(app: &TestApp, by: &str, scope: &str) -> Answer {
        app.post(PATH, json!({ "name": "laptop", "scope": scope })).token(by).send().await
    }

    fn secret(created: &Answer) -> String {
        created.data()["accessToken"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned()
    }

    async fn me(app: &TestApp, token: &str) -> u16 {
        app.get("/api/v2/user/me").token(token).send().await.status
    }

    #[tokio::test]
    async fn token_created_is_shown_once_and_listed_apart_from_sessions() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        let body = json!({ "name": "backup script", "scope": "read", "validForDays": 30 });
        let created = app.post(PATH, body).token(&user.token).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        let (token, secret) = (&created.data()["token"], secret(&created));
        assert!(secret.starts_with("dhu_"), "{secret}");
        assert_eq!((&token["name"], &token["scope"]), (&json!("backup script"), &json!("read")));
        let listed = app.get(PATH).token(&user.token).send().await;
        assert_eq!(listed.data(), &json!([token]));
        assert!(!format!("{listed:?}{:?}", app.log.events()).contains(&secret), "it is shown or stored again");
        let own = app.get(PATH).token(&secret).send().await;
        assert_eq!(own.data()[0]["isCurrent"], true, "{own:?}");
        let sessions = app.get("/api/v2/user/sessions").token(&user.token).send().await;
        assert_eq!(sessions.data().as_array().unwrap().len(), 1, "{sessions:?}");
        let eve = app.user("eve").await;
        assert_eq!(app.get(PATH).token(&eve.token).send().await.data(), &json!([]));
    }

    #[tokio::test]
    async fn token_with_a_scope_that_is_too_small_is_refused() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        app.make_admin(user.id).await;
        let refused = (403, "insufficient_scope");
        for (scope, stop, end_session, users) in [
            ("read", refused, refused, 403),
            ("instances", (404, "not_found"), refused, 403),
            ("all", (404, "not_found"), (404, "not_found"), 200),
        ] {
            let token = secret(&create(&app, &user.token, scope).await);
            assert_eq!(me(&app, &token).await, 200, "{scope}");
            let request = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }));
            assert_eq!(request.token(&token).send().await.error(), stop, "{scope}");
            let request = app.request(Method::DELETE, "/api/v2/user/sessions/mine");
            assert_eq!(request.token(&token).send().await.error(), end_session, "{scope}");
            assert_eq!(app.get("/api/v2/admin/users").token(&token).send().await.status, users, "{scope}");
            // No token makes another one: it would outlive its own end.
            assert_eq!(create(&app, &token, "read").await.error(), refused, "{scope}");
        }
    }

    #[tokio::test]
    async fn token_revoked_is_refused_and_others_stay_valid() {
        let app = TestApp::new().await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let (one, other) = (create(&app, &user.token, "all").await, create(&app, &user.token, "all").await);
        let path = format!("{PATH}/{}", one.data()["token"]["id"].as_str().unwrap());
        let revoke = |token: &str| app.request(Method::DELETE, &path).token(token).send();
        assert_eq!(revoke(&eve.token).await.error(), (404, "not_found"));
        assert_eq!(me(&app, &secret(&one)).await, 200);
        assert_eq!(revoke(&user.token).await.status, 200);
        assert_eq!(revoke(&user.token).await.error(), (404, "not_found"));
        assert_eq!((me(&app, &secret(&one)).await, me(&app, &secret(&other)).await), (401, 200));
        // A program can revoke its own token.
        let ended = app.post("/api/v2/user/signout", json!({})).token(&secret(&other)).send().await;
        assert_eq!((ended.status, me(&app, &secret(&other)).await), (200, 401));
    }

    #[tokio::test]
    async fn tokens_outlive_a_changed_password_unless_they_shall_end() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let token = secret(&create(&app, &user.token, "read").await);
        let change = async |mut body: Value| {
            body["currentPassword"] = json!(PASSWORD);
            body["newPassword"] = json!(PASSWORD);
            let answer = app.put("/api/v2/user/me/password", body).token(&user.token).send().await;
            assert_eq!(answer.status, 200, "{answer:?}");
        };
        change(json!({})).await;
        app.request(Method::DELETE, "/api/v2/user/sessions").token(&user.token).send().await;
        assert_eq!(me(&app, &token).await, 200);
        change(json!({ "revokeTokens": true })).await;
        assert_eq!((me(&app, &token).await, me(&app, &user.token).await), (401, 200));
    }

    #[tokio::test]
    async fn tokens_end_when_an_administrator_ends_the_sessions_or_disables_the_account() {
        let app = TestApp::new().await;
        let (boss, user) = (app.admin("boss").await, app.user("ada").await);
        let token = secret(&create(&app, &user.token, "all").await);
        let path = format!("/api/v2/admin/users/{}/sessions", user.id);
        assert_eq!(app.request(Method::DELETE, &path).token(&boss.token).send().await.status, 200);
        assert_eq!(me(&app, &token).await, 401);
        let eve = app.user("eve").await;
        let token = secret(&create(&app, &eve.token, "all").await);
        app.disable(eve.id).await;
        assert_eq!(me(&app, &token).await, 401);
    }
}
