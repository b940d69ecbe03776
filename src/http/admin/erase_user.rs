//! `DELETE /api/v2/admin/users/{userId}`: erases a user, like `dockhost erase-user`.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{EraseAccount, ErasedBy, NoSuchAccount};
use dockhost_domain::administrators::AdministratorsRejected;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_projections::users::Users;

use crate::accounts::erase::{EraseRejected, erase};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(EraseUserErrors: ADMIN_OF_COMMAND, COMMAND, &[Code::NotFound, Code::LastAdministrator]);

fn rejected(rejection: &EraseRejected<NoSuchAccount>) -> ApiError {
    match rejection {
        EraseRejected::Account(NoSuchAccount) => ApiError::not_found("user"),
        EraseRejected::Administrators(AdministratorsRejected::Last) => {
            ApiError::new(Code::LastAdministrator, rejection.to_string())
        }
        EraseRejected::Administrators(AdministratorsRejected::NotByAdministrator) => {
            ApiError::new(Code::Forbidden, rejection.to_string())
        }
    }
}

/// Erase a user
///
/// It can't be undone. All sessions end, all instances are deleted, username and email address are free, and in the end the
/// key is destroyed without which nobody can read what the event log has about the user. That goes on when the answer is there.
/// The last administrator can't be erased. A repeated request answers the same.
#[utoipa::path(
    delete,
    path = "/api/v2/admin/users/{userId}",
    operation_id = "eraseUser",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    responses(
        (status = 200, description = "The erasure has begun.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the erasure in the log."),
        )),
        EraseUserErrors,
    ),
)]
pub async fn delete(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let user_id: UserId = user_id.parse().map_err(|_| ApiError::not_found("user"))?;
    let origin = app.origin(Actor::Admin(admin));
    let command = EraseAccount { by: ErasedBy::Admin };
    let sequence = erase(&app.executor, &app.keyring, user_id, &command, &origin)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    app.wait_until_projected::<Users>(sequence).await;
    Ok(Reply::ok("the user is erased", Null).position(app.position(sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::account::{Account, AccountEvent, Erased, ErasedBy};
    use dockhost_domain::envelope::Actor;
    use dockhost_domain::event::Event;
    use dockhost_domain::ids::UserId;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, Caller, TestApp};

    async fn erase(app: &TestApp, by: &Caller<UserId>, id: impl std::fmt::Display) -> Answer {
        app.delete(&format!("/api/v2/admin/users/{id}")).token(&by.token).send().await
    }

    #[tokio::test]
    async fn user_erased_by_an_administrator_is_that_in_the_log_and_leaves_the_names_free() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.signed_up_user("ada").await);
        let erased = erase(&app, &boss, ada.id).await;
        assert_eq!(erased.status, 200, "{erased:?}");
        let events = app.log.events();
        let event = Event::from(AccountEvent::Erased(Erased { by: ErasedBy::Admin }));
        let erasure = events.iter().find(|recorded| recorded.envelope.event == event).unwrap();
        assert_eq!(erasure.envelope.origin.actor, Actor::Admin(boss.id));
        let shown = app.get(&format!("/api/v2/admin/users/{}", ada.id)).token(&boss.token).send().await;
        assert_eq!((&shown.data()["state"], &shown.data()["username"]), (&json!("erased"), &Value::Null));
        app.signed_up_user("ada").await;
        let stored = app.log.events().len();
        assert_eq!(erase(&app, &boss, ada.id).await.status, 200);
        assert_eq!(app.log.events().len(), stored, "a repetition stores nothing");
    }

    #[tokio::test]
    async fn user_who_is_unknown_or_the_last_administrator_is_not_erased() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for id in ["boss", "0193b3a0-0000-7000-8000-000000000001", "%ff"] {
            assert_eq!(erase(&app, &boss, id).await.error(), (404, "not_found"), "{id}");
        }
        assert_eq!(erase(&app, &boss, boss.id).await.error(), (409, "last_administrator"));
        let chief = app.admin("chief").await;
        assert_eq!(erase(&app, &chief, boss.id).await.status, 200);
        assert!(app.app.executor.confirmed::<Account>(boss.id).await.unwrap().state.erased);
        assert_eq!(erase(&app, &chief, chief.id).await.error(), (409, "last_administrator"), "boss is none any more");
    }
}
