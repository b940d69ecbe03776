//! What stop, resume and delete share: they differ in the desired state only.

use std::sync::Arc;

use dockhost_domain::aggregate::Command;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::group::GroupLimits;
use dockhost_domain::ids::{InstanceId, OperationId, UserId};
use dockhost_domain::tenancy::{self, ChangeInstance, ChangeRejected, Policy, Progress, Tenancy};
use dockhost_domain::wire::DesiredState;

use super::named_instance::Named;
use super::own_instance::{self, Refusal};
use crate::common::clock;
use crate::execute::{ExecuteError, Executed, Executor};
use crate::http::app::App;
use crate::http::extract::{IfMatch, Wait};
use crate::http::group_of::{group_of, has_ended, limits_of};
use crate::http::operation_wait::OperationWait;
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply};
use crate::http::views::Instance;
use crate::replica::fleet::Fleet;

error_responses!(
    /// Error answers of stop and resume.
    pub ChangeErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION,
    &[
        Code::NotFound, Code::AccountDisabled, Code::InstanceDeleting, Code::InstanceFailed, Code::BackendDraining,
        Code::GroupEnded, Code::InstanceExpired, Code::OperationFailed,
    ]
);

/// What the group of an instance's owner says about resuming it.
#[derive(Debug, Clone, Copy, Default)]
struct OwnersGroup {
    has_ended: bool,
    limits: GroupLimits,
}

/// Changes the desired state of the instance that has this id or name; returns its id.
async fn execute(
    executor: &Arc<Executor>,
    user_id: UserId,
    origin: Origin,
    instance: (Named, IfMatch),
    (to, policy): (DesiredState, Policy),
    fleet: Arc<Fleet>,
    group: OwnersGroup,
) -> Result<(InstanceId, Executed<Tenancy>), ExecuteError<Refusal<ChangeRejected>>> {
    let decide = move |instance_id, state: &Tenancy| {
        let now = clock::now();
        if to == DesiredState::Running {
            let instance = state.instance(instance_id);
            if is_drained(&fleet, instance) {
                return Err(ChangeRejected::BackendDrained);
            }
            if group.has_ended {
                return Err(ChangeRejected::GroupEnded);
            }
            instance.map_or(Ok(()), |instance| instance.may_resume(&group.limits, now))?;
        }
        ChangeInstance { instance_id, to, now, policy }.decide(state)
    };
    own_instance::execute(executor, user_id, origin, ChangeInstance::class_of(to), instance, decide).await
}

/// The answer to a rejection.
pub fn rejected(rejection: &ChangeRejected) -> ApiError {
    let message = rejection.to_string();
    match rejection {
        ChangeRejected::NotFound => ApiError::not_found("instance"),
        ChangeRejected::Suspended => ApiError::new(Code::AccountDisabled, message),
        ChangeRejected::BackendDrained => ApiError::new(Code::BackendDraining, message),
        ChangeRejected::GroupEnded => ApiError::new(Code::GroupEnded, message),
        ChangeRejected::Expired { .. } => ApiError::new(Code::InstanceExpired, message),
        ChangeRejected::Deleting => ApiError::new(Code::InstanceDeleting, message),
        ChangeRejected::NeverCreated => ApiError::new(Code::InstanceFailed, message),
    }
}

/// Whether an administrator drains the instance's backend, so that it must not be resumed, not even by an administrator. A resume that slips through, because
/// this replica does not know of the drain yet, is stopped again.
pub fn is_drained(fleet: &Fleet, instance: Option<&tenancy::Instance>) -> bool {
    let placement = instance.and_then(|instance| instance.current_placement.as_ref());
    let machine = placement.and_then(|placement| fleet.machine(placement.backend_id));
    machine.is_some_and(|machine| machine.drain.is_some())
}

/// The operation under way, if any.
fn pending_operation(instance: &tenancy::Instance) -> Option<OperationId> {
    match instance.progress {
        Progress::Pending { operation, .. } => operation,
        Progress::Stable | Progress::Failed { .. } | Progress::Deleted { .. } => None,
    }
}

/// What is said of an instance that has the desired state. While its machine is not reachable, that is only what the machine
/// reported last.
const fn reached(state: DesiredState, view: &Instance) -> &'static str {
    match (state, view.is_unreachable()) {
        (DesiredState::Running, false) => "the instance is running",
        (DesiredState::Running, true) => "the instance was running when its machine was last reachable",
        (DesiredState::Stopped, false) => "the instance is stopped",
        (DesiredState::Stopped, true) => "the instance was stopped when its machine was last reachable",
        (DesiredState::Deleted, _) => "the instance is deleted",
    }
}

/// Changes the desired state of an instance, waits for the outcome, and answers.
///
/// # Errors
/// `precondition_failed`, `not_found`, `instance_deleting`, `instance_failed`, `backend_draining`, `group_ended`, `instance_expired`,
/// `operation_failed`, and those of the log.
pub async fn change(
    app: &App,
    user_id: UserId,
    instance: (Named, IfMatch),
    to: DesiredState,
    wait: Wait,
) -> Result<Reply<Instance>, ApiError> {
    let mut owners_group = OwnersGroup::default();
    if to == DesiredState::Running {
        let group = group_of(app, user_id).await?;
        owners_group.has_ended = has_ended(app, user_id, group.as_ref(), clock::now()).await?;
        owners_group.limits = limits_of(app, user_id).await?;
    }
    let (origin, policy) = (app.origin(Actor::User(user_id)), app.settings.policy);
    let fleet = Arc::clone(app.follower.fleet());
    let (instance_id, done) = execute(&app.executor, user_id, origin, instance, (to, policy), fleet, owners_group)
        .await
        .map_err(|error| from_execute(error, |refusal| refusal.answer(|rejection| rejected(&rejection))))?;
    answer(app, user_id, instance_id, to, done, wait).await
}

/// Waits for the outcome of a change, and answers.
///
/// # Errors
/// `operation_failed`, and those of the log.
pub async fn answer(
    app: &App,
    user_id: UserId,
    instance_id: InstanceId,
    to: DesiredState,
    done: Executed<Tenancy>,
    wait: Wait,
) -> Result<Reply<Instance>, ApiError> {
    let pending = done.current.state.instance(instance_id).and_then(pending_operation);
    let operation_id = done.event().map(OperationId::from).or(pending);
    let is_repeated = done.repeated.is_some();
    let succeeded = |view| {
        // Other commands may have followed the first one.
        let message = if is_repeated { "this was done before; the instance as it is now" } else { reached(to, &view) };
        Reply::ok(message, view)
    };
    OperationWait { user_id, instance_id, operation_id }.answer(app, wait, succeeded).await
}

#[cfg(test)]
mod tests {
    use dockhost_domain::reported::ShortText;
    use dockhost_domain::wire::{EngineState, MachineStatus, Phase, ReportKind};
    use serde_json::json;

    use super::*;
    use crate::event_log::EventLog;
    use crate::http::testing::{Answer, Caller, TestApp, agent_error, observation};

    async fn put(app: &TestApp, user: &Caller<UserId>, path: &str, instance: &str) -> Answer {
        let request = app.put(&format!("/api/v2/user/instance/{path}"), json!({ "instanceId": instance }));
        request.token(&user.token).header("prefer", "respond-async").send().await
    }

    async fn delete(app: &TestApp, user: &Caller<UserId>, instance: &str) -> Answer {
        let path = format!("/api/v2/user/instance?instanceId={instance}");
        let request = app.request(axum::http::Method::DELETE, &path);
        request.token(&user.token).header("prefer", "respond-async").send().await
    }

    #[tokio::test]
    async fn stop_and_resume_succeed_once_the_agent_reports() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        for (path, phase, pending, done) in
            [("stop", Phase::Stopped, "stopping", "stopped"), ("resume", Phase::Running, "resuming", "running")]
        {
            let accepted = put(&app, &user, path, "web").await;
            assert_eq!((accepted.status, &accepted.data()["status"]), (202, &json!(pending)), "{accepted:?}");
            app.report(user.id, id, ReportKind::InstanceStatus(observation(phase))).await;
            // By id as by name; what is so already needs no wait.
            let answer = put(&app, &user, path, &id.to_string()).await;
            assert_eq!((answer.status, &answer.data()["status"]), (200, &json!(done)), "{answer:?}");
            let location = accepted.header("location").unwrap();
            let operation = app.get(location).token(&user.token).send().await;
            assert_eq!((&operation.data()["kind"], &operation.data()["status"]), (&json!(path), &json!("succeeded")));
        }
    }

    /// The other replica has seen nothing of the deletion and of the new instance.
    #[tokio::test]
    async fn change_by_a_name_that_another_instance_has_since_changes_that_one() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        for to in [DesiredState::Stopped, DesiredState::Deleted] {
            let old = app.running_instance(&user, "web").await;
            let other = Executor::new(Arc::clone(&app.log) as Arc<dyn EventLog>);
            assert!(other.state::<Tenancy>(user.id).await.unwrap().state.instance(old).is_some());
            delete(&app, &user, "web").await;
            app.report(user.id, old, ReportKind::InstanceDeleted).await;
            let new = app.running_instance(&user, "web").await;
            let origin = app.app.origin(Actor::User(user.id));
            let instance = (Named::by("web").unwrap(), IfMatch::default());
            let (with, fleet) = ((to, Policy::default()), Arc::clone(app.app.follower.fleet()));
            let (changed, done) =
                execute(&other, user.id, origin, instance, with, fleet, OwnersGroup::default()).await.unwrap();
            assert_eq!((changed, done.stored.is_some()), (new, true), "{to:?}");
            assert_eq!(done.current.state.instance(new).unwrap().desired, to);
            delete(&app, &user, &new.to_string()).await;
            app.report(user.id, new, ReportKind::InstanceDeleted).await;
        }
    }

    #[tokio::test]
    async fn change_that_is_so_on_an_unreachable_machine_claims_only_what_was_reported() {
        let app = TestApp::new().await;
        let backend = app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        let engine = Some(EngineState::Down { reason: ShortText::cleaned("it stopped") });
        let unreachable = MachineStatus { engine, ..MachineStatus::default() };
        for (path, phase, state) in [("resume", Phase::Running, "running"), ("stop", Phase::Stopped, "stopped")] {
            app.beat(backend.id, MachineStatus::default());
            put(&app, &user, path, "web").await;
            app.report(user.id, id, ReportKind::InstanceStatus(observation(phase))).await;
            let answer = put(&app, &user, path, "web").await;
            assert_eq!(answer.body["message"], format!("the instance is {state}"), "{answer:?}");
            app.beat(backend.id, unreachable.clone());
            let answer = put(&app, &user, path, "web").await;
            assert_eq!((answer.status, &answer.data()["status"]), (200, &json!("unreachable")), "{answer:?}");
            let expected = format!("the instance was {state} when its machine was last reachable");
            assert_eq!(answer.body["message"], expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn change_of_an_unknown_instance_answers_not_found() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (ada, eve) = (app.user("ada").await, app.user("eve").await);
        let id = app.running_instance(&ada, "web").await.to_string();
        for instance in ["web", &id, "no-such-name", "*", "", "0193b3a0-0000-7000-8000-000000000001"] {
            for path in ["stop", "resume"] {
                let answer = put(&app, &eve, path, instance).await;
                assert_eq!(answer.error(), (404, "not_found"), "{path} {instance}: {answer:?}");
            }
            let instance = instance.replace('*', "%2A");
            assert_eq!(delete(&app, &eve, &instance).await.error(), (404, "not_found"), "{instance}");
        }
    }

    #[tokio::test]
    async fn change_of_a_deleting_instance_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        app.running_instance(&user, "web").await;
        assert_eq!(delete(&app, &user, "web").await.data()["status"], "deleting");
        for path in ["stop", "resume"] {
            assert_eq!(put(&app, &user, path, "web").await.error(), (409, "instance_deleting"), "{path}");
        }
    }

    #[tokio::test]
    async fn change_of_an_instance_that_was_never_created_is_refused() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.request_instance(&user, "web").await;
        app.refuse(user.id, id).await;
        for path in ["stop", "resume"] {
            assert_eq!(put(&app, &user, path, "web").await.error(), (409, "instance_failed"), "{path}");
        }
        assert_eq!(delete(&app, &user, "web").await.status, 200);
    }

    #[tokio::test]
    async fn change_that_fails_answers_operation_failed() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        let fail = async {
            let stored = app.log.events().len();
            while app.log.events().len() == stored {
                tokio::task::yield_now().await;
            }
            app.report(user.id, id, ReportKind::InstanceFailed(agent_error())).await;
        };
        let request = app.put("/api/v2/user/instance/stop", json!({ "instanceId": "web" }));
        let (answer, ()) = tokio::join!(request.token(&user.token).send(), fail);
        assert_eq!(answer.error(), (503, "operation_failed"), "{answer:?}");
        let text = answer.body["message"].as_str().unwrap();
        assert!(text.starts_with("the instance could not be stopped: its backend "), "{text}");
        assert_eq!(answer.details()["reasons"][0]["backend"], "lab-1");
    }

    #[tokio::test]
    async fn delete_is_repeatable_by_id() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let user = app.user("ada").await;
        let id = app.running_instance(&user, "web").await;
        assert_eq!(delete(&app, &user, "web").await.status, 202);
        app.report(user.id, id, ReportKind::InstanceDeleted).await;
        for _ in 0..2 {
            let answer = delete(&app, &user, &id.to_string()).await;
            assert_eq!((answer.status, &answer.data()["status"]), (200, &json!("deleted")), "{answer:?}");
        }
        assert_eq!(delete(&app, &user, "web").await.error(), (404, "not_found"), "the name is free again");
    }

    #[tokio::test]
    async fn delete_with_two_ids_in_the_query_is_refused() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        assert_eq!(delete(&app, &user, "a&instanceId=b").await.error(), (422, "validation_failed"));
    }
}
