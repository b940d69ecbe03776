//! `POST /api/v2/admin/backends/{backendId}/cordon`: keeps new instances away from a backend.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::backend::ChangeCordon;
use dockhost_domain::envelope::Actor;

use super::change_backend::change;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentAdmin, Path, Repeatable};
use crate::http::response::documented::{ADMIN_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::Backend;

error_responses!(CordonErrors: ADMIN_OF_COMMAND, COMMAND, REPEATABLE, &[Code::NotFound]);

/// Cordon a backend
///
/// It gets no new instances. Those that are on it go on, and can be stopped, resumed and deleted.
#[utoipa::path(
    post,
    path = "/api/v2/admin/backends/{backendId}/cordon",
    operation_id = "cordonBackend",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("backendId" = Uuid, Path, description = "The backend's id."), Repeatable),
    responses(
        (status = 200, description = "The backend is cordoned.", body = Success<Backend>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        CordonErrors,
    ),
)]
pub async fn post(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    key: Repeatable,
) -> Result<Reply<Backend>, ApiError> {
    change(
        &app,
        key.origin(&app, Actor::Admin(admin)),
        &backend,
        ChangeCordon { cordoned: true },
        "the backend is cordoned",
    )
    .await
}

#[cfg(test)]
mod tests {
    use dockhost_domain::backend::BackendEvent;
    use dockhost_domain::envelope::Actor;
    use dockhost_domain::event::Event;
    use serde_json::json;

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn cordon_and_uncordon_change_who_gets_instances_and_are_repeatable() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let backend = app.connected_backend("lab-1", 5).await;
        let post = |what: &str| {
            let path = format!("/api/v2/admin/backends/{}/{what}", backend.id);
            app.post(&path, json!({})).token(&boss.token).send()
        };
        for (what, cordoned, status) in [("cordon", true, 503), ("uncordon", false, 202)] {
            let first = post(what).await;
            assert_eq!((first.status, &first.data()["cordoned"]), (200, &json!(cordoned)), "{first:?}");
            let events = app.log.events();
            let last = &events.last().unwrap().envelope;
            let (Actor::Admin(by), Event::Backend(event)) = (last.origin.actor, &last.event) else {
                panic!("{last:?}")
            };
            assert_eq!((by, matches!(event, BackendEvent::Cordoned(_))), (boss.id, cordoned));
            assert_eq!(post(what).await.status, 200);
            assert_eq!(app.log.events().len(), events.len(), "a repeated one stores nothing");
            app.app.follower.wait_until_applied(events.len() as u64).await;
            let create = app.post("/api/v2/user/instance", json!({}));
            let answer = create.token(&ada.token).header("prefer", "respond-async").send().await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn cordon_of_an_unknown_backend_is_not_found() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for id in ["lab-1", &boss.id.to_string(), "%ff"] {
            let path = format!("/api/v2/admin/backends/{id}/cordon");
            assert_eq!(app.post(&path, json!({})).token(&boss.token).send().await.error(), (404, "not_found"), "{id}");
        }
    }
}
