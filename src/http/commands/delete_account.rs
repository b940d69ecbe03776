//! `DELETE /api/v2/user/me`: erases the caller, like `dockhost erase-user`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, EraseAccount, ErasedBy, NoSuchAccount};
use dockhost_domain::administrators::AdministratorsRejected;
use dockhost_domain::envelope::Actor;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::own_password::confirm;
use crate::accounts::erase::{EraseRejected, erase};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, ClientAddress, IfMatch, SignedInUser, USER_COOKIE};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};
use crate::http::version::{OnVersion, Refused};
use crate::http::views::User;

/// The caller's password.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({ "currentPassword": "correct horse" })))]
pub struct DeleteAccountRequest {
    #[garde(skip)]
    #[schema(
        value_type = String,
        format = Password,
        pattern = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
    )]
    current_password: SecretString,
}

error_responses!(
    DeleteAccountErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION, &[Code::WrongPassword, Code::LastAdministrator]
);

fn rejected(rejection: EraseRejected<Refused<NoSuchAccount>>) -> ApiError {
    match rejection {
        EraseRejected::Account(refused) => {
            refused.answer(|NoSuchAccount| ApiError::new(Code::Unauthorized, "the account was erased"))
        }
        EraseRejected::Administrators(
            last @ (AdministratorsRejected::Last | AdministratorsRejected::NotByAdministrator),
        ) => ApiError::new(Code::LastAdministrator, last.to_string()),
    }
}

/// Delete your account
///
/// It can't be undone. All sessions end, all instances are deleted, username and email address are free, and in the end the
/// key is destroyed without which nobody can read what the event log has about you. That goes on when the answer is there.
/// The last administrator can't be deleted.
#[utoipa::path(
    delete,
    path = "/api/v2/user/me",
    operation_id = "deleteAccount",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(IfMatch),
    request_body = DeleteAccountRequest,
    responses(
        (status = 200, description = "The account is deleted.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the deletion in the log."),
            ("Set-Cookie" = String, description = "Removes the cookie `accessToken`."),
        )),
        DeleteAccountErrors,
    ),
)]
pub async fn delete(
    SignedInUser { user_id, .. }: SignedInUser,
    State(app): State<Arc<App>>,
    client: ClientAddress,
    if_match: IfMatch,
    Body(DeleteAccountRequest { current_password }): Body<DeleteAccountRequest>,
) -> Result<Reply<Null>, ApiError> {
    confirm(&app, client, user_id, current_password).await?;
    let origin = app.origin(Actor::User(user_id));
    let version = move |account: &Account| account.profile.as_ref().map(|profile| User::version_of(user_id, profile));
    let command = OnVersion { if_match, version, command: EraseAccount { by: ErasedBy::User } };
    let sequence = erase(&app.executor, &app.keyring, user_id, &command, &origin)
        .await
        .map_err(|error| from_execute(error, rejected))?;
    let cookies = app.removal_cookies(USER_COOKIE);
    Ok(Reply::ok("your account is deleted", Null).cookies(cookies).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::account::Account;
    use serde_json::{Value, json};

    use crate::http::testing::{PASSWORD, TestApp, TestRequest};

    fn delete(app: &TestApp, body: Value) -> TestRequest<'_> {
        app.request(Method::DELETE, "/api/v2/user/me").json(body)
    }

    #[tokio::test]
    async fn account_deleted_is_erased_and_its_names_are_free() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let deleted = delete(&app, json!({ "currentPassword": PASSWORD })).token(&user.token).send().await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        assert_eq!(deleted.cookie("accessToken").as_deref(), Some(""));
        assert!(app.app.executor.confirmed::<Account>(user.id).await.unwrap().state.erased);
        app.signed_up_user("ada").await;
    }

    #[tokio::test]
    async fn account_changed_since_its_user_saw_it_is_not_deleted() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        let shown = app.get("/api/v2/user/me").token(&user.token).send().await;
        let etag = shown.header("etag").unwrap();
        let change = app.request(Method::PATCH, "/api/v2/user/me").json(json!({ "sshPublicKey": null }));
        let changed = change.token(&user.token).send().await;
        let now = changed.header("etag").unwrap();
        assert_ne!(etag, now, "{changed:?}");
        let delete = |etag: &str| {
            let request = delete(&app, json!({ "currentPassword": PASSWORD })).token(&user.token);
            request.header("if-match", etag).send()
        };
        let events = app.log.events().len();
        assert_eq!(delete(etag).await.error(), (412, "precondition_failed"));
        assert_eq!(app.log.events().len(), events);
        assert!(!app.app.executor.confirmed::<Account>(user.id).await.unwrap().state.erased);
        assert_eq!(delete(now).await.status, 200);
        assert!(app.app.executor.confirmed::<Account>(user.id).await.unwrap().state.erased);
    }

    #[tokio::test]
    async fn account_with_a_wrong_password_is_not_deleted() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        for (body, code) in [
            (json!({ "currentPassword": "not this one" }), (403, "wrong_password")),
            (json!({}), (422, "validation_failed")),
        ] {
            assert_eq!(delete(&app, body).token(&user.token).send().await.error(), code);
        }
        assert!(!app.app.executor.confirmed::<Account>(user.id).await.unwrap().state.erased);
    }
}
