//! `PUT /api/v2/admin/users/{userId}/quota`: sets how many instances a user may have.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::tenancy::event::QuotaSet;
use dockhost_domain::tenancy::{SetQuota, TenancyClosed};
use serde::Deserialize;
use utoipa::ToSchema;

use super::quota_view::UserQuota;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path};
use crate::http::group_of::group_of;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// A quota for a user.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QuotaRequest, examples(json!({ "instances": 12 })))]
pub struct QuotaRequest {
    /// The most instances that are not deleted; absent or null for that of the user's group or of the server's
    /// configuration.
    #[garde(range(max = 10_000))]
    #[schema(minimum = 0, maximum = 10_000)]
    instances: Option<u32>,
}

error_responses!(SetQuotaErrors: ADMIN_OF_COMMAND, BODY, COMMAND, &[Code::NotFound]);

/// Set a user's quota
///
/// It counts at once, on every replica. Instances beyond it stay.
#[utoipa::path(
    put,
    path = "/api/v2/admin/users/{userId}/quota",
    operation_id = "setQuota",
    tag = "Administration",
    security(("userToken" = []), ("userCookie" = [])),
    params(("userId" = Uuid, Path, description = "The user's id.")),
    request_body = Option<QuotaRequest>,
    responses(
        (status = 200, description = "The quota is set.", body = Success<UserQuota>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
        )),
        SetQuotaErrors,
    ),
)]
pub async fn put(
    CurrentAdmin { user_id: admin }: CurrentAdmin,
    State(app): State<Arc<App>>,
    Path(user_id): Path<String>,
    Body(QuotaRequest { instances }): Body<QuotaRequest>,
) -> Result<Reply<UserQuota>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    if app.executor.confirmed::<Account>(user_id).await?.state.profile.is_none() {
        return Err(not_found());
    }
    let done = app
        .executor
        .execute(user_id, app.origin(Actor::Admin(admin)), SetQuota(QuotaSet { instances }))
        .await
        .map_err(|error| from_execute(error, |TenancyClosed| not_found()))?;
    let data = UserQuota::new(&app, &done.current.state, group_of(&app, user_id).await?.as_ref());
    Ok(Reply::ok("the quota of the user is set", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::testing::TestApp;

    #[tokio::test]
    async fn quota_set_for_a_user_counts_instead_of_the_configured_one() {
        let app = TestApp::with(|settings| settings.quota = Some(1)).await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let path = format!("/api/v2/admin/users/{}/quota", ada.id);
        let get = async || app.get(&path).token(&boss.token).send().await.data().clone();
        let put = |body: Value| app.put(&path, body).token(&boss.token).send();
        let create = async |name: &str| {
            let request = app.post("/api/v2/user/instance", json!({ "name": name })).token(&ada.token);
            request.header("prefer", "respond-async").send().await
        };
        assert_eq!(create("one").await.status, 202);
        assert_eq!(get().await, json!({ "instances": 1, "isDefault": true, "used": 1 }));
        assert_eq!(create("two").await.error(), (403, "quota_exceeded"));
        let set = put(json!({ "instances": 2 })).await;
        let expected = json!({ "instances": 2, "isDefault": false, "used": 1 });
        assert_eq!((set.status, set.data(), get().await), (200, &expected, expected.clone()), "{set:?}");
        let me = app.get("/api/v2/user/me").token(&ada.token).send().await;
        assert_eq!(me.data()["maxInstances"], 2, "{me:?}");
        assert_eq!(create("two").await.status, 202);
        // What exists stays.
        assert_eq!(put(json!({ "instances": 0 })).await.data()["used"], 2);
        let refused = create("three").await;
        assert_eq!((refused.error().1, refused.details()), ("quota_exceeded", &json!({ "limit": 0, "used": 2 })));
        let events = app.log.events().len();
        assert_eq!((put(json!({ "instances": 0 })).await.status, app.log.events().len()), (200, events));
        assert_eq!(put(json!({})).await.data(), &json!({ "instances": 1, "isDefault": true, "used": 2 }));
    }

    #[tokio::test]
    async fn quota_of_an_unknown_user_or_out_of_range_is_refused() {
        let app = TestApp::new().await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        for id in ["ada", "0193b3a0-0000-7000-8000-000000000001"] {
            let path = format!("/api/v2/admin/users/{id}/quota");
            let put = app.put(&path, json!({ "instances": 2 })).token(&boss.token).send().await;
            let get = app.get(&path).token(&boss.token).send().await;
            assert_eq!((put.error(), get.error()), ((404, "not_found"), (404, "not_found")), "{id}");
        }
        let path = format!("/api/v2/admin/users/{}/quota", ada.id);
        for instances in [json!(-1), json!(10_001), json!("2"), json!(1.5)] {
            let answer = app.put(&path, json!({ "instances": instances })).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{instances}");
        }
        // No configured quota.
        let answer = app.get(&path).token(&boss.token).send().await;
        assert_eq!(answer.data(), &json!({ "instances": null, "isDefault": true, "used": 0 }));
    }
}
