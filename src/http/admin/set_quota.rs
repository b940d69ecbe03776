//! `PUT /api/v2/admin/users/{userId}/quota`: sets what the instances of a user may be and use in all.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::UserId;
use dockhost_domain::quota::Quota;
use dockhost_domain::tenancy::{SetQuota, TenancyClosed};
use serde::Deserialize;
use utoipa::ToSchema;

use super::quota_view::UserQuota;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentAdmin, Path};
use crate::http::group_of::group_of;
use crate::http::processors::Processors;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};

/// A quota for a user. What is absent or null is as the user's group or the server's configuration has it. Instances that are not
/// deleted count, also stopped ones.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = QuotaRequest, examples(json!({ "instances": 12, "cpu": 8, "memoryMib": 16384 })))]
pub struct QuotaRequest {
    /// The most instances.
    #[garde(range(max = 10_000))]
    #[schema(minimum = 0, maximum = 10_000)]
    instances: Option<u32>,
    /// The most processors that they may use in all, with at most three decimals.
    #[garde(skip)]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    cpu: Option<Processors>,
    /// The most memory that they may use in all, in MiB.
    #[garde(range(max = 1_000_000_000))]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    memory_mib: Option<u32>,
}

error_responses!(SetQuotaErrors: ADMIN_OF_COMMAND, BODY, COMMAND, &[Code::NotFound]);

/// Set a user's quota
///
/// It replaces the one that was set, and counts at once, on every replica. Instances beyond it stay.
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
    Body(QuotaRequest { instances, cpu, memory_mib }): Body<QuotaRequest>,
) -> Result<Reply<UserQuota>, ApiError> {
    let not_found = || ApiError::not_found("user");
    let user_id: UserId = user_id.parse().map_err(|_| not_found())?;
    if app.executor.confirmed::<Account>(user_id).await?.state.profile.is_none() {
        return Err(not_found());
    }
    let quota = Quota { instances, cpu_millis: cpu.map(Processors::millis), memory_mib };
    let done = app
        .executor
        .execute(user_id, app.origin(Actor::Admin(admin)), SetQuota(quota))
        .await
        .map_err(|error| from_execute(error, |TenancyClosed| not_found()))?;
    let data = UserQuota::new(&app, &done.current.state, group_of(&app, user_id).await?.as_ref());
    Ok(Reply::ok("the quota of the user is set", data).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use dockhost_domain::wire::{Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::http::testing::{TestApp, observation};

    /// The answer for a user whose instances have the default size.
    fn quota(instances: Option<u32>, is_default: bool, used: u32) -> Value {
        json!({
            "instances": instances, "cpu": null, "memoryMib": null, "isDefault": is_default,
            "set": { "instances": instances.filter(|_| !is_default), "cpu": null, "memoryMib": null },
            "used": used, "usedCpu": f64::from(used) / 10.0, "usedMemoryMib": used * 64,
        })
    }

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
        assert_eq!(get().await, quota(Some(1), true, 1));
        assert_eq!(create("two").await.error(), (403, "quota_exceeded"));
        let set = put(json!({ "instances": 2 })).await;
        let expected = quota(Some(2), false, 1);
        assert_eq!((set.status, set.data(), get().await), (200, &expected, expected.clone()), "{set:?}");
        let me = app.get("/api/v2/user/me").token(&ada.token).send().await;
        assert_eq!(me.data()["maxInstances"], 2, "{me:?}");
        assert_eq!(create("two").await.status, 202);
        // What exists stays.
        assert_eq!(put(json!({ "instances": 1 })).await.data()["used"], 2);
        let refused = create("three").await;
        assert_eq!((refused.error().1, refused.details()), ("quota_exceeded", &json!({ "limit": 1, "used": 2 })));
        assert_eq!(refused.body["message"], "you have 2 of 1 instance; delete 2 first");
        let events = app.log.events().len();
        assert_eq!((put(json!({ "instances": 1 })).await.status, app.log.events().len()), (200, events));
        assert_eq!(put(json!({})).await.data(), &quota(Some(1), true, 2));
    }

    /// An instance has 0.1 processors and 64 MiB by default.
    #[tokio::test]
    async fn quota_of_processors_and_memory_says_what_is_asked_and_used() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let path = format!("/api/v2/admin/users/{}/quota", ada.id);
        let put = |body: Value| app.put(&path, body).token(&boss.token).send();
        let create = async |body: Value| {
            let request = app.post("/api/v2/user/instance", body).token(&ada.token);
            request.header("prefer", "respond-async").send().await
        };
        let set = put(json!({ "cpu": 0.5, "memoryMib": 1024 })).await;
        let expected = json!({
            "instances": null, "cpu": 0.5, "memoryMib": 1024, "isDefault": true,
            "set": { "instances": null, "cpu": 0.5, "memoryMib": 1024 },
            "used": 0, "usedCpu": 0.0, "usedMemoryMib": 0,
        });
        assert_eq!((set.status, set.data()), (200, &expected), "{set:?}");
        let id = app.running_instance(&ada, "web").await;
        // A stopped one can be resumed at any time, so it counts.
        app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }))
            .token(&ada.token)
            .header("prefer", "respond-async")
            .send()
            .await;
        app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        let refused = create(json!({ "cpu": 0.45 })).await;
        assert_eq!(refused.error(), (403, "quota_exceeded"));
        let details = json!({ "resource": "cpu", "limit": 0.5, "used": 0.1, "asked": 0.45 });
        assert_eq!(refused.details(), &details);
        let message = "you asked for 0.45 processors, and your instances, also stopped ones, have 0.1 of the 0.5 processors \
                       that you may use; ask for at most 0.4 processors, or delete instances first";
        assert_eq!(refused.body["message"], message);
        let refused = create(json!({ "memoryMib": 961 })).await;
        let details = json!({ "resource": "memoryMib", "limit": 1024.0, "used": 64.0, "asked": 961.0 });
        assert_eq!((refused.error().1, refused.details()), ("quota_exceeded", &details));
        assert_eq!(create(json!({ "cpu": 0.4, "memoryMib": 960 })).await.status, 202);
        assert_eq!(create(json!({})).await.error(), (403, "quota_exceeded"));
        let me = app.get("/api/v2/user/me").token(&ada.token).send().await;
        let found = ["maxInstances", "maxCpu", "maxMemoryMib", "use"].map(|member| me.data()[member].clone());
        let used = json!({ "instances": 2, "cpu": 0.5, "memoryMib": 1024 });
        assert_eq!(found, [Value::Null, json!(0.5), json!(1024), used], "{me:?}");
        // What is not named is taken back.
        assert_eq!(put(json!({ "instances": 3 })).await.data()["cpu"], Value::Null);
        assert_eq!(create(json!({})).await.status, 202);
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
        for body in [
            json!({ "instances": -1 }),
            json!({ "instances": 10_001 }),
            json!({ "instances": "2" }),
            json!({ "instances": 1.5 }),
            json!({ "cpu": -1 }),
            json!({ "cpu": 0.0001 }),
            json!({ "cpu": 1_000_001 }),
            json!({ "memoryMib": 1_000_000_001 }),
        ] {
            let answer = app.put(&path, body.clone()).token(&boss.token).send().await;
            assert_eq!(answer.error(), (422, "validation_failed"), "{body}");
        }
        // No configured quota.
        let answer = app.get(&path).token(&boss.token).send().await;
        assert_eq!(answer.data(), &quota(None, true, 0));
    }
}
