//! `POST /api/v2/user/refresh`: spends a refresh token, and gives the next one with a new access token.
//!
//! The session's aggregate decides, so of two requests with one token, on any replicas, one is stored. The other one is answered
//! with the same next token, as long as the token was spent a moment ago; later it ends the session.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::session::{InvalidRefreshToken, RefreshSession};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::session_tokens::{RefreshBy, SessionTokens};
use crate::auth::token::Bearer;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, RefreshCookie};
use crate::http::response::documented::{BODY, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// A refresh token, from a client that keeps no cookies.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "refreshToken": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl" })))]
pub struct RefreshRequest {
    /// The `refreshToken` of the sign-in or of the last refresh. If it is absent, the cookie counts.
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Password)]
    refresh_token: Option<SecretString>,
}

error_responses!(
    RefreshErrors: BODY, COMMAND, &[Code::InvalidRefreshToken, Code::RefreshTokenReused, Code::ForeignOrigin]
);

fn invalid() -> ApiError {
    ApiError::new(Code::InvalidRefreshToken, "the refresh token is missing or not valid; sign in again")
}

/// Refresh a session
///
/// Gives a new access token and the next refresh token of a session that was begun with `refresh`: in the same way in which the
/// refresh token was sent, as a cookie or in the body. Each refresh token is valid once. Within 10 seconds, a repetition gets the
/// same next token. After that, a token that was used before ends the session (`refresh_token_reused`), because it was copied.
#[utoipa::path(
    post,
    path = "/api/v2/user/refresh",
    operation_id = "refreshSession",
    tag = "Users",
    request_body = Option<RefreshRequest>,
    responses(
        (status = 200, description = "The next tokens.", body = Success<SessionTokens>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the refresh in the log."),
            ("Set-Cookie" = String, description = "`accessToken` and `refreshToken`, if the refresh token was sent as a cookie."),
        )),
        RefreshErrors,
    ),
)]
pub async fn post(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    RefreshCookie(cookie): RefreshCookie,
    Body(RefreshRequest { refresh_token }): Body<RefreshRequest>,
) -> Result<Reply<SessionTokens>, ApiError> {
    let (token, by) = match (refresh_token, cookie) {
        (Some(token), _) => (token, RefreshBy::Body),
        (None, Some(token)) => (token.into(), RefreshBy::Cookie),
        (None, None) => return Err(invalid()),
    };
    let (bearer, token_number) = app.user_tokens.read_refresh_token(token.expose_secret()).map_err(|_| invalid())?;
    let Bearer { principal, session } = bearer;
    let now = clock::now();
    let refresh = RefreshSession { session_id: session, token_number, now };
    let origin = app.origin(Actor::User(UserId::from_uuid(principal.uuid())));
    let done = app
        .executor
        .execute(principal, origin, refresh)
        .await
        .map_err(|error| from_execute(error, |InvalidRefreshToken| invalid()))?;
    let Some((tokens, cookies)) = SessionTokens::of_refreshed(&app, bearer, by, &done.current.state, now)? else {
        tracing::warn!(%client, %principal, %session, "a spent refresh token was presented; the session is ended");
        let message = "this refresh token was used before, so it was copied; the session is ended, sign in again";
        return Err(ApiError::new(Code::RefreshTokenReused, message));
    };
    Ok(Reply::ok("the session is refreshed", tokens).cookies(cookies).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, header};
    use dockhost_domain::event::Event;
    use dockhost_domain::session::{EndReason, Refreshed, SessionEvent};
    use futures::future::join_all;
    use serde_json::{Value, json};

    use crate::common::clock;
    use crate::http::app::Cookies;
    use crate::http::testing::{Answer, PASSWORD, TestApp};

    const PATH: &str = "/api/v2/user/refresh";

    async fn sign_in(app: &TestApp, refresh: &str) -> Answer {
        let body = json!({ "username": "ada", "password": PASSWORD, "refresh": refresh });
        let answer = app.post("/api/v2/user/signin", body).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn with_body(app: &TestApp, token: &str) -> Answer {
        app.post(PATH, json!({ "refreshToken": token })).send().await
    }

    fn text(answer: &Answer, member: &str) -> String {
        answer.data()[member].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    fn members(answer: &Answer) -> Vec<&str> {
        let mut members: Vec<_> = answer.data().as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        members
    }

    /// A cookie that an answer sets, with its attributes.
    fn set_cookie(answer: &Answer, name: &str) -> String {
        let cookies = answer.headers.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap());
        let found = cookies.into_iter().find(|cookie| cookie.starts_with(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name}: {answer:?}")).to_owned()
    }

    async fn status(app: &TestApp, access_token: &str) -> u16 {
        app.get("/api/v2/user/instance").token(access_token).send().await.status
    }

    #[tokio::test]
    async fn refresh_by_cookie_gives_short_tokens_in_cookies_only() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let signed_in = sign_in(&app, "cookie").await;
        assert_eq!(members(&signed_in), ["accessToken", "expiresIn", "user"], "no script can read the refresh token");
        assert_eq!(signed_in.data()["expiresIn"], 900);
        assert!(set_cookie(&signed_in, "accessToken").ends_with("Max-Age=900"), "{signed_in:?}");
        let cookie = set_cookie(&signed_in, "refreshToken");
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/api/v2/user/refresh", "Max-Age=604800"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let token = signed_in.cookie("refreshToken").unwrap();
        let answer = app.request(Method::POST, PATH).header("cookie", &format!("refreshToken={token}")).send().await;
        assert_eq!((answer.status, answer.data()["expiresIn"].clone()), (200, json!(900)), "{answer:?}");
        assert_eq!(answer.data()["refreshToken"], Value::Null);
        assert_ne!(answer.cookie("refreshToken").unwrap(), token);
        let access = text(&answer, "accessToken");
        assert_eq!(answer.cookie("accessToken").as_deref(), Some(&*access));
        assert_eq!(status(&app, &access).await, 200);
        // A refresh token is no access token, and the other way round.
        assert_eq!(status(&app, &token).await, 401);
        assert_eq!(with_body(&app, &access).await.error(), (401, "invalid_refresh_token"));
    }

    #[tokio::test]
    async fn refresh_by_body_sets_no_cookie() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let signed_in = sign_in(&app, "body").await;
        assert_eq!(signed_in.header("set-cookie"), None);
        let first = text(&signed_in, "refreshToken");
        let answer = with_body(&app, &first).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{answer:?}");
        assert_ne!(text(&answer, "refreshToken"), first);
        assert_eq!(status(&app, &text(&answer, "accessToken")).await, 200);
        // Its cookie is another one.
        let cookie = format!("refreshToken={}", text(&answer, "refreshToken"));
        let answer = app.request(Method::POST, PATH).header("cookie", &cookie).json(json!({ "refreshToken": "x" }));
        assert_eq!(answer.send().await.error(), (401, "invalid_refresh_token"), "the body counts");
    }

    #[tokio::test]
    async fn refresh_at_sign_up_gives_a_refresh_token_too() {
        let app = TestApp::new().await;
        let body = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD, "refresh": "body" });
        let signed_up = app.post("/api/v2/user/signup", body).send().await;
        assert_eq!((signed_up.status, &signed_up.data()["expiresIn"]), (201, &json!(900)), "{signed_up:?}");
        assert_eq!(with_body(&app, &text(&signed_up, "refreshToken")).await.status, 200);
    }

    /// Clients that know nothing of refresh tokens.
    #[tokio::test]
    async fn sign_in_without_refresh_is_as_it_was() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let body = json!({ "username": "ada", "password": PASSWORD });
        let answer = app.post("/api/v2/user/signin", body).send().await;
        assert_eq!(members(&answer), ["accessToken", "user"]);
        assert!(set_cookie(&answer, "accessToken").ends_with("Max-Age=86400"), "{answer:?}");
        assert_eq!(answer.headers.get_all(header::SET_COOKIE).iter().count(), 1);
        assert_eq!(with_body(&app, &text(&answer, "accessToken")).await.error(), (401, "invalid_refresh_token"));
    }

    #[tokio::test]
    async fn refresh_of_several_at_once_gives_all_the_same_next_token_and_stores_one_event() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let first = text(&sign_in(&app, "body").await, "refreshToken");
        let before = app.log.events().len();
        let answers = join_all((0..8).map(|_| with_body(&app, &first))).await;
        let next = text(&answers[0], "refreshToken");
        for answer in &answers {
            assert_eq!((answer.status, text(answer, "refreshToken")), (200, next.clone()), "{answer:?}");
        }
        let events = app.log.events();
        assert_eq!(events.len(), before + 1);
        let Event::Session(SessionEvent::Refreshed(Refreshed { token_number, expires_at, .. })) =
            &events.last().unwrap().envelope.event
        else {
            panic!("{:?}", events.last())
        };
        let days = expires_at.since(clock::now()).as_secs_f64() / 86_400.0;
        assert!(*token_number == 1 && (6.9..=7.0).contains(&days), "{events:?}");
        assert_eq!(with_body(&app, &next).await.status, 200);
    }

    #[tokio::test]
    async fn refresh_with_a_token_before_the_last_spent_one_ends_the_session_with_the_reason() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let signed_in = sign_in(&app, "body").await;
        let first = text(&signed_in, "refreshToken");
        let second = text(&with_body(&app, &first).await, "refreshToken");
        let third = with_body(&app, &second).await;
        assert_eq!(with_body(&app, &first).await.error(), (401, "refresh_token_reused"));
        let events = app.log.events();
        let last = &events.last().unwrap().envelope.event;
        let Event::Session(SessionEvent::Revoked(revoked)) = last else { panic!("{last:?}") };
        assert_eq!(revoked.reason, Some(EndReason::RefreshTokenReused));
        for token in [&first, &second, &text(&third, "refreshToken")] {
            assert_eq!(with_body(&app, token).await.error(), (401, "invalid_refresh_token"));
        }
        for answer in [&signed_in, &third] {
            assert_eq!(status(&app, &text(answer, "accessToken")).await, 401, "all access tokens end");
        }
        assert_eq!(app.log.events().len(), events.len());
    }

    #[tokio::test]
    async fn refresh_of_a_session_that_was_signed_out_is_refused_and_the_cookie_is_removed() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let signed_in = sign_in(&app, "cookie").await;
        let access = text(&signed_in, "accessToken");
        let out = app.post("/api/v2/user/signout", json!({})).token(&access).send().await;
        let removed = set_cookie(&out, "refreshToken");
        assert!(removed.contains("Max-Age=0") && removed.contains("Path=/api/v2/user/refresh"), "{removed}");
        let token = signed_in.cookie("refreshToken").unwrap();
        assert_eq!(with_body(&app, &token).await.error(), (401, "invalid_refresh_token"));
    }

    #[tokio::test]
    async fn refresh_of_a_disabled_account_is_refused() {
        let app = TestApp::new().await;
        let ada = app.signed_up_user("ada").await;
        let token = text(&sign_in(&app, "body").await, "refreshToken");
        app.disable(ada.id).await;
        assert_eq!(with_body(&app, &token).await.error(), (401, "invalid_refresh_token"));
    }

    #[tokio::test]
    async fn refresh_with_the_cookie_from_a_foreign_page_is_refused() {
        let app = TestApp::new().await;
        app.signed_up_user("ada").await;
        let token = sign_in(&app, "cookie").await.cookie("refreshToken").unwrap();
        let call = async |origin: &str| {
            let request = app.request(Method::POST, PATH).header("host", "box:3001").header("origin", origin);
            request.header("cookie", &format!("refreshToken={token}")).send().await
        };
        assert_eq!(call("http://box:28999").await.error(), (403, "foreign_origin"));
        assert_eq!(call("http://box:3001").await.status, 200);
    }

    #[tokio::test]
    async fn refresh_cookie_follows_the_setting() {
        let app = TestApp::with(|settings| settings.cookies = Cookies::Secure).await;
        app.signed_up_user("ada").await;
        let signed_in = sign_in(&app, "cookie").await;
        let cookie = set_cookie(&signed_in, "__Secure-refreshToken");
        assert!(cookie.contains("Secure;") && !cookie.contains("Domain"), "{cookie}");
        let token = signed_in.cookie("__Secure-refreshToken").unwrap();
        let refresh = |name: &str| app.request(Method::POST, PATH).header("cookie", &format!("{name}={token}")).send();
        assert_eq!(refresh("refreshToken").await.error(), (401, "invalid_refresh_token"));
        assert_eq!(refresh("__Secure-refreshToken").await.status, 200);

        let app = TestApp::with(|settings| settings.cookies = Cookies::Off).await;
        app.signed_up_user("ada").await;
        let body = json!({ "username": "ada", "password": PASSWORD, "refresh": "cookie" });
        let refused = app.post("/api/v2/user/signin", body).send().await;
        assert_eq!((refused.error(), &refused.details()[0]["field"]), ((422, "validation_failed"), &json!("refresh")));
        let token = text(&sign_in(&app, "body").await, "refreshToken");
        assert_eq!(with_body(&app, &token).await.status, 200);
    }

    #[tokio::test]
    async fn refresh_without_a_token_or_with_a_forged_one_is_refused() {
        let app = TestApp::new().await;
        assert_eq!(app.request(Method::POST, PATH).send().await.error(), (401, "invalid_refresh_token"));
        for token in ["", "garbage", "a.b.c"] {
            assert_eq!(with_body(&app, token).await.error(), (401, "invalid_refresh_token"), "{token}");
        }
        let other = TestApp::new().await;
        other.signed_up_user("ada").await;
        let token = text(&sign_in(&other, "body").await, "refreshToken");
        assert_eq!(with_body(&app, &token).await.error(), (401, "invalid_refresh_token"), "no such session");
    }
}
