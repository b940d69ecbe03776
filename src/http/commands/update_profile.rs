//! `PATCH /api/v2/user/me`: changes the caller's email address or default SSH key.
//!
//! A new address needs the current password, because it is a name to sign in with: its claim, the release of the old one, and
//! the change are one atomic batch.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, ChangeProfile, NoSuchAccount, Profile, email_address};
use dockhost_domain::claim::{ReleaseClaim, TakeClaim};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::subject::ClaimKind;
use dockhost_projections::users::Users;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::own_password::confirm;
use super::signup::{email_taken, ssh_public_key};
use crate::execute::Batch;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, CurrentUser, IfMatch, IfNoneMatch};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::{from_execute, impossible};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::{OnVersion, Refused};
use crate::http::views::User;

/// What to change; what is absent stays as it is.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "email": "ada@new.example.org", "currentPassword": "correct horse" })))]
pub struct UpdateProfileRequest {
    /// Unique, regardless of case. Needs `currentPassword`.
    #[serde(default, deserialize_with = "trimmed")]
    #[garde(inner(email, length(bytes, max = 254)))]
    #[schema(format = "email", max_length = 254)]
    email: Option<String>,
    /// For instances that are created without one; as at sign-up. `null` removes it.
    #[serde(default, deserialize_with = "given")]
    #[garde(skip)]
    #[schema(value_type = Option<String>)]
    ssh_public_key: Option<Option<String>>,
    /// Only needed to change the email address.
    #[serde(default)]
    #[garde(skip)]
    #[schema(
        value_type = Option<String>,
        format = Password,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    current_password: Option<SecretString>,
}

fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|email| email.trim().to_owned()))
}

/// Tells `null` from an absent member.
#[expect(clippy::option_option, reason = "absent, null, or a key")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    ssh_public_key(deserializer).map(Some)
}

error_responses!(
    UpdateProfileErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::WrongPassword, Code::EmailTaken]
);

/// Change your profile
///
/// The email address, or the SSH key of instances that are created without one. Existing instances keep their keys.
#[utoipa::path(
    patch,
    path = "/api/v2/user/me",
    operation_id = "updateProfile",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(IfMatch),
    request_body = Option<UpdateProfileRequest>,
    responses(
        (status = 200, description = "The profile as it is now.", body = Success<User>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        UpdateProfileErrors,
    ),
)]
pub async fn patch(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    client: ClientAddress,
    if_match: IfMatch,
    Body(request): Body<UpdateProfileRequest>,
) -> Result<Reply<User>, ApiError> {
    let UpdateProfileRequest { email, ssh_public_key, current_password } = request;
    if email.is_some() {
        confirm(&app, client, user_id, current_password.ok_or_else(password_required)?).await?;
    }
    let change = ChangeProfile { email, ssh_public_key };
    let origin = app.origin(Actor::User(user_id));
    let decide = |batch| decide(&app, batch, user_id, &change, &if_match);
    app.executor.execute_batch::<ApiError, _>(&origin, decide).await?;
    let account = app.executor.state::<Account>(user_id).await?;
    app.wait_until_projected::<Users>(account.sequence).await;
    let profile = account.state.profile.as_ref().ok_or_else(erased)?;
    let version = User::version_of(user_id, profile);
    let reply = Reply::ok("your profile", User::new(user_id, profile)).version(version, IfNoneMatch::default());
    Ok(reply.position(app.position(account.sequence)))
}

fn password_required() -> ApiError {
    ApiError::invalid_field("currentPassword", "is required to change the email address")
}

fn erased() -> ApiError {
    ApiError::new(Code::Unauthorized, "the account was erased")
}

/// The change, and the claims of the old and the new address if they differ.
async fn decide(
    app: &App,
    mut batch: Batch,
    user_id: UserId,
    change: &ChangeProfile,
    if_match: &IfMatch,
) -> Result<Batch, ApiError> {
    let account = app.executor.confirmed::<Account>(user_id).await?.state;
    let Profile { details, .. } = account.profile.as_ref().ok_or_else(erased)?;
    let claim = |email: &String| app.keyring.claim(ClaimKind::Email, email);
    let (old, new) = (email_address(&details.email).map(claim), change.email.as_ref().map(claim));
    if let Some(new) = new.filter(|new| Some(*new) != old) {
        let owner = user_id.into();
        batch.decide(new, &TakeClaim { owner }).await.map_err(|error| from_execute(error, |_| email_taken()))?;
        if let Some(old) = old {
            batch.decide(old, &ReleaseClaim { owner }).await.map_err(|error| from_execute(error, impossible))?;
        }
    }
    let version = move |account: &Account| account.profile.as_ref().map(|profile| User::version_of(user_id, profile));
    let command = OnVersion { if_match: if_match.clone(), version, command: change.clone() };
    let refused = |refused: Refused<NoSuchAccount>| refused.answer(|NoSuchAccount| erased());
    batch.decide(user_id, &command).await.map_err(|error| from_execute(error, refused))?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::{Value, json};

    use crate::http::testing::{PASSWORD, SSH_KEY, TestApp, TestRequest};

    const PATH: &str = "/api/v2/user/me";

    fn patch(app: &TestApp, body: Value) -> TestRequest<'_> {
        app.request(Method::PATCH, PATH).json(body)
    }

    #[tokio::test]
    async fn profile_changed_since_the_caller_saw_it_is_left_alone() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let me = || app.get("/api/v2/user/me").token(&user.token);
        let shown = me().send().await;
        let etag = shown.header("etag").unwrap().to_owned();
        assert_eq!(me().header("if-none-match", &etag).send().await.status, 304);
        let change = |etag: &str| {
            let body = json!({ "sshPublicKey": null });
            let change = app.request(Method::PATCH, "/api/v2/user/me").json(body).token(&user.token);
            change.header("if-match", etag).send()
        };
        assert_eq!(change(&etag).await.status, 200);
        assert_eq!(change(&etag).await.error(), (412, "precondition_failed"));
        let now = me().send().await;
        assert_eq!(change(now.header("etag").unwrap()).await.status, 200, "the versions of both answers are the same");
    }

    #[tokio::test]
    async fn email_changed_is_the_one_to_sign_in_with_and_the_old_one_is_free() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let body = json!({ "email": " Ada@New.example.org ", "currentPassword": PASSWORD });
        let changed = patch(&app, body).token(&user.token).send().await;
        assert_eq!((changed.status, &changed.data()["email"]), (200, &json!("Ada@New.example.org")), "{changed:?}");
        let sign_in = async |name: &str| {
            app.post("/api/v2/user/signin", json!({ "username": name, "password": PASSWORD })).send().await.status
        };
        assert_eq!((sign_in("ada@new.example.org").await, sign_in("ada@example.org").await), (200, 401));
        let eve = json!({ "username": "eve", "email": "ada@example.org", "password": PASSWORD });
        assert_eq!(app.post("/api/v2/user/signup", eve).send().await.status, 201);
        // The same address in another case is no new claim.
        let body = json!({ "email": "ada@new.example.org", "currentPassword": PASSWORD });
        assert_eq!(patch(&app, body).token(&user.token).send().await.data()["email"], "ada@new.example.org");
    }

    #[tokio::test]
    async fn email_change_that_is_refused_changes_nothing() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        app.signed_up_user("eve").await;
        let events = app.log.events().len();
        for (body, code) in [
            (json!({ "email": "a@example.org" }), (422, "validation_failed")),
            (json!({ "email": "no address", "currentPassword": PASSWORD }), (422, "validation_failed")),
            (json!({ "email": "a@example.org", "currentPassword": "not this one" }), (403, "wrong_password")),
            (json!({ "email": "EVE@example.org", "currentPassword": PASSWORD }), (409, "email_taken")),
        ] {
            assert_eq!(patch(&app, body.clone()).token(&user.token).send().await.error(), code, "{body}");
        }
        assert_eq!(app.log.events().len(), events);
    }

    #[tokio::test]
    async fn default_key_changed_is_that_of_new_instances() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let user = app.user_with_key("ada", None).await;
        let create = async |name: &str| {
            let request = app.post("/api/v2/user/instance", json!({ "name": name })).token(&user.token);
            request.header("prefer", "respond-async").send().await.status
        };
        assert_eq!(create("none").await, 400);
        let set = async |key: Value| patch(&app, json!({ "sshPublicKey": key })).token(&user.token).send().await;
        assert_eq!(set(json!(SSH_KEY)).await.status, 200);
        assert_eq!(create("one").await, 202);
        assert_eq!(set(json!("no key")).await.error(), (422, "validation_failed"));
        assert_eq!(patch(&app, json!({})).token(&user.token).send().await.status, 200);
        assert_eq!(create("two").await, 202);
        assert_eq!(set(json!(null)).await.status, 200);
        assert_eq!(create("three").await, 400);
    }
}
