//! What stop, resume and delete of anyone's instance share: they differ in the desired state only.

use std::sync::Arc;

use dockhost_domain::aggregate::Command;
use dockhost_domain::envelope::Origin;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::ShortText;
use dockhost_domain::tenancy::{AdministerInstance, ChangeInstance, ChangeRejected, Tenancy};
use dockhost_domain::wire::DesiredState;
use dockhost_projections::instances::InstanceFilter;
use dockhost_projections::store::Page;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::common::clock;
use crate::http::app::App;
use crate::http::commands::change::{answer, is_drained, rejected};
use crate::http::extract::{IfMatch, Wait};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply};
use crate::http::version::{Refused, Version};
use crate::http::views::Instance;

/// Why an administrator changes an instance.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "reason": "The course is over." })))]
pub struct AdministerRequest {
    /// What the owner is told.
    #[garde(skip)]
    #[schema(
        value_type = Option<String>,
        max_length = 256,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
    )]
    reason: Option<ShortText>,
}

error_responses!(
    /// Error answers of stop and resume.
    pub RepeatableErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION, REPEATABLE,
    &[
        Code::NotFound, Code::AccountDisabled, Code::InstanceDeleting, Code::InstanceFailed, Code::BackendDraining,
        Code::InstanceExpired, Code::OperationFailed, Code::DatabaseUnavailable,
    ]
);
error_responses!(
    /// Error answers of a deletion.
    pub AdministerErrors: ADMIN_OF_COMMAND, BODY, COMMAND, ON_VERSION,
    &[
        Code::NotFound, Code::AccountDisabled, Code::InstanceDeleting, Code::InstanceFailed, Code::BackendDraining,
        Code::InstanceExpired, Code::OperationFailed, Code::DatabaseUnavailable,
    ]
);

/// The owner of an instance that is not deleted. The read model knows it; the decision is made on the owner's instances in the
/// log.
///
/// # Errors
/// `not_found`, `database_unavailable`.
pub async fn owner(app: &App, id: InstanceId) -> Result<UserId, ApiError> {
    let filter = InstanceFilter { id: Some(id), ..InstanceFilter::default() };
    let page = Page { after: None, limit: 1 };
    let found = app.store.instances_of_all(&filter, page).await.map_err(|error| ApiError::database(&error))?;
    found.value.first().map(|instance| instance.user_id).ok_or_else(|| ApiError::not_found("instance"))
}

/// Changes the desired state of anyone's instance, if it has a version that the caller has seen, waits for the outcome, and answers.
///
/// # Errors
/// `not_found`, `database_unavailable`, `precondition_failed`, and those of the same change by the owner.
pub async fn administer(
    app: &App,
    origin: Origin,
    (id, if_match): (&str, IfMatch),
    to: DesiredState,
    request: AdministerRequest,
    wait: Wait,
) -> Result<Reply<Instance>, ApiError> {
    let instance_id: InstanceId = id.parse().map_err(|_| ApiError::not_found("instance"))?;
    let owner = owner(app, instance_id).await?;
    let change = ChangeInstance { instance_id, to, now: clock::now(), policy: app.settings.policy };
    let reason = request.reason.map(String::from).filter(|reason| !reason.is_empty());
    let command = AdministerInstance { change, reason };
    let (class, fleet) = (command.class(), Arc::clone(app.follower.fleet()));
    let limits = limits_of(app, owner).await?;
    let decide = move |state: &Tenancy| {
        let instance = state.instance(instance_id);
        if !if_match.allows(|| instance.map(Version::of)) {
            return Err(Refused::Changed);
        }
        if to == DesiredState::Running {
            if is_drained(&fleet, instance) {
                return Err(Refused::Rejected(ChangeRejected::BackendDrained));
            }
            if let Some(Err(rejection)) = instance.map(|instance| instance.may_resume(&limits, change.now)) {
                return Err(Refused::Rejected(rejection));
            }
        }
        command.decide(state).map_err(Refused::Rejected)
    };
    let done = app
        .executor
        .execute_with(owner, origin, class, decide)
        .await
        .map_err(|error| from_execute(error, |refused| refused.answer(|rejection| rejected(&rejection))))?;
    answer(app, owner, instance_id, to, done, wait).await
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use dockhost_domain::backend::{CancelDrain, StartDrain};
    use dockhost_domain::envelope::Actor;
    use dockhost_domain::wire::{Phase, ReportKind};
    use serde_json::{Value, json};

    use crate::common::clock;
    use crate::http::testing::{TestApp, observation};

    #[tokio::test]
    async fn instance_of_another_is_stopped_resumed_and_deleted_with_the_reason_shown_to_its_owner() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await;
        let shown = async || app.get("/api/v2/user/instance/web").token(&ada.token).send().await.data().clone();
        assert_eq!(shown().await["administrator"], Value::Null);
        for (method, path, pending, wanted, report) in [
            (Method::POST, "/stop", "stopping", "stopped", ReportKind::InstanceStatus(observation(Phase::Stopped))),
            (Method::POST, "/resume", "resuming", "running", ReportKind::InstanceStatus(observation(Phase::Running))),
            (Method::DELETE, "", "deleting", "deleted", ReportKind::InstanceDeleted),
        ] {
            let request = app.request(method, &format!("/api/v2/admin/instances/{id}{path}"));
            let request = request.json(json!({ "reason": "It mines coins." })).token(&boss.token);
            let answer = request.header("prefer", "respond-async").send().await;
            assert_eq!((answer.status, &answer.data()["status"]), (202, &json!(pending)), "{answer:?}");
            assert_eq!(app.log.events().last().unwrap().envelope.origin.actor, Actor::Admin(boss.id));
            let note = shown().await["administrator"].clone();
            assert_eq!((&note["wanted"], &note["reason"]), (&json!(wanted), &json!("It mines coins.")));
            app.report(ada.id, id, report).await;
        }
        let again = app.post(&format!("/api/v2/admin/instances/{id}/stop"), json!({})).token(&boss.token);
        assert_eq!(again.send().await.error(), (404, "not_found"));
    }

    #[tokio::test]
    async fn instance_of_a_disabled_user_or_on_a_drained_backend_is_resumed_by_nobody() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 9).await;
        let (boss, ada) = (app.admin("boss").await, app.user("ada").await);
        let id = app.running_instance(&ada, "web").await;
        let post = |action: &str| {
            let request = app.post(&format!("/api/v2/admin/instances/{id}/{action}"), json!({}));
            request.token(&boss.token).header("prefer", "respond-async").send()
        };
        assert_eq!(post("stop").await.status, 202);
        app.report(ada.id, id, ReportKind::InstanceStatus(observation(Phase::Stopped))).await;
        app.execute(backend.id, StartDrain { deadline: clock::now(), retire: false }).await;
        assert_eq!(post("resume").await.error(), (409, "backend_draining"));
        app.execute(backend.id, CancelDrain).await;
        app.disable(ada.id).await;
        assert_eq!(post("resume").await.error(), (403, "account_disabled"));
    }

    #[tokio::test]
    async fn instance_unknown_is_not_found() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        for id in ["web", "0193b3a0-0000-7000-8000-000000000001"] {
            for (method, path) in [(Method::POST, "/stop"), (Method::POST, "/resume"), (Method::DELETE, "")] {
                let request = app.request(method, &format!("/api/v2/admin/instances/{id}{path}"));
                assert_eq!(request.token(&boss.token).send().await.error(), (404, "not_found"), "{id}{path}");
            }
        }
    }
}
