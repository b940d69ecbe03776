//! `GET /api/v2/user/me`: the caller.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::minutes::Minutes;
use dockhost_domain::quota::QuotaUse;
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::users::{UserDocument, Users};
use serde::Serialize;
use utoipa::ToSchema;

use crate::event_log::LogError;
use crate::http::app::App;
use crate::http::consistency::{self, LogPosition};
use crate::http::extract::{CurrentUser, IfNoneMatch, ReadPosition};
use crate::http::group_of::{group_of, quota_of};
use crate::http::processors;
use crate::http::response::documented::{CALLER, READ_MODEL, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::User;

/// A user, as they see themselves.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    #[serde(flatten)]
    user: User,
    /// The SSH key of instances that are created without one.
    #[schema(required)]
    ssh_public_key: Option<String>,
    /// How many instances they may have; null for no limit.
    #[schema(required)]
    max_instances: Option<u32>,
    /// How many processors their instances may use in all; null for no limit.
    #[schema(required)]
    max_cpu: Option<f64>,
    /// How much memory their instances may use in all, in MiB; null for no limit.
    #[schema(required)]
    max_memory_mib: Option<u32>,
    /// What counts for these limits.
    r#use: OwnUse,
    /// Their group; null if they are in none.
    #[schema(required)]
    group: Option<OwnGroup>,
}

/// The instances of a user that are not deleted, also stopped ones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnUse {
    instances: u32,
    /// The processors that they may use.
    cpu: f64,
    /// The memory that they may use, in MiB.
    memory_mib: u64,
}

impl From<QuotaUse> for OwnUse {
    fn from(QuotaUse { instances, resources }: QuotaUse) -> Self {
        Self { instances, cpu: processors::of_millis(resources.cpu_millis), memory_mib: resources.memory_mib }
    }
}

/// A group, as its members see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnGroup {
    name: String,
    /// When the members' instances are stopped, and can't be resumed or created any more; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ends_at: Option<Timestamp>,
    /// For how many minutes an instance of a member may run; null for no limit.
    #[schema(value_type = Option<u32>, required)]
    time_to_live_minutes: Option<Minutes>,
    /// After how many minutes without an SSH connection an instance of a member is stopped; null for never.
    #[schema(value_type = Option<u32>, required)]
    autostop_minutes: Option<Minutes>,
}

impl Me {
    /// Joins the document with the user's group and quota.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn new(app: &App, document: UserDocument) -> Result<Self, LogError> {
        let (user_id, ssh_public_key) = (document.user_id, document.ssh_public_key.clone());
        let tenancy = app.executor.state::<Tenancy>(user_id).await?;
        let group = group_of(app, user_id).await?;
        let quota = quota_of(app, &tenancy.state, group.as_ref());
        let group = group.map(|group| OwnGroup {
            name: group.name.into(),
            ends_at: group.ends_at,
            time_to_live_minutes: group.time_to_live_minutes,
            autostop_minutes: group.autostop_minutes,
        });
        Ok(Self {
            user: User::of_document(document),
            ssh_public_key,
            max_instances: quota.instances,
            max_cpu: quota.cpu_millis.map(|millis| processors::of_millis(millis.into())),
            max_memory_mib: quota.memory_mib,
            r#use: tenancy.state.quota_use().into(),
            group,
        })
    }
}

error_responses!(MeErrors: CALLER, READ_MODEL, &[Code::NotFound]);

/// Get your account
#[utoipa::path(
    get,
    path = "/api/v2/user/me",
    operation_id = "getMe",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(IfNoneMatch, ReadPosition),
    responses(
        (status = 200, description = "The account.", body = Success<Me>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
            ("Dockhost-Stale" = u64, description = "If events are missing: the first sequence that is."),
        )),
        (status = 304, description = "You have this answer."),
        MeErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    position: ReadPosition,
    known: IfNoneMatch,
) -> Result<Reply<Me>, ApiError> {
    let shown = consistency::read::<Users, _>(&app, position, || app.store.user(user_id)).await?;
    let position = shown.position(&app, shown.value.iter().map(|user| user.seq));
    let document = shown.value.ok_or_else(|| ApiError::not_found("user"))?;
    let data = Me::new(&app, document).await?;
    let version = data.user.version(data.ssh_public_key.as_deref());
    Ok(Reply::ok("your account", data).version(version, known).stale(shown.stale_since).position(position))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{SSH_KEY, TestApp};

    #[tokio::test]
    async fn get_me_shows_the_caller_without_secrets() {
        let app = TestApp::with(|settings| settings.quota = Some(5)).await;
        let (user, _) = (app.user("ada").await, app.user("eve").await);
        let answer = app.get("/api/v2/user/me").token(&user.token).send().await;
        let created_at = answer.data()["createdAt"].clone();
        let expected = json!({
            "id": user.id, "username": "ada", "email": "ada@example.org", "role": "user", "createdAt": created_at,
            "sshPublicKey": SSH_KEY, "maxInstances": 5, "maxCpu": null, "maxMemoryMib": null,
            "use": { "instances": 0, "cpu": 0.0, "memoryMib": 0 }, "group": null,
        });
        assert_eq!(answer.data(), &expected);
    }
}
