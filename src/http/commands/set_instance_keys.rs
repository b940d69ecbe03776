//! `PUT /api/v2/user/instance/{instanceId}/keys`: replaces the keys that may log in to an instance, without restarting it.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;
use dockhost_domain::aggregate::{Command as _, CommandClass};
use dockhost_domain::envelope::Actor;
use dockhost_domain::tenancy::{KeysRejected, SetInstanceKeys, Tenancy};
use dockhost_projections::instances::Instances;
use serde::Deserialize;
use utoipa::ToSchema;

use super::login_keys;
use super::named_instance::Named;
use super::own_instance;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, IfMatch, IfNoneMatch, InstanceUser, Path};
use crate::http::group_of::limits_of;
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, ON_VERSION, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::version::Version;
use crate::http::views::Instance;

/// The keys that may log in.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO"],
})))]
pub struct SetInstanceKeysRequest {
    /// Names of your SSH keys, or public keys. No others can log in afterwards; with none, nobody can.
    #[garde(length(max = 20))]
    #[schema(max_items = 20)]
    keys: Vec<String>,
}

error_responses!(
    SetInstanceKeysErrors: CALLER_OF_COMMAND, BODY, COMMAND, ON_VERSION,
    &[Code::NotFound, Code::InvalidSshKey, Code::InstanceDeleting]
);

fn rejected(rejection: &KeysRejected) -> ApiError {
    match rejection {
        KeysRejected::NotFound => ApiError::not_found("instance"),
        KeysRejected::Deleting => ApiError::new(Code::InstanceDeleting, rejection.to_string()),
    }
}

/// Replace the SSH keys of an instance
///
/// A running instance has them within seconds; it is not restarted, and connections stay open. A stopped one gets them
/// before it runs again. Keys that were added in the instance itself are lost.
#[utoipa::path(
    put,
    path = "/api/v2/user/instance/{instanceId}/keys",
    operation_id = "setInstanceKeys",
    tag = "Instances",
    security(("userToken" = []), ("userCookie" = [])),
    params(("instanceId" = String, Path, description = "The instance's id or its name."), IfMatch),
    request_body = SetInstanceKeysRequest,
    responses(
        (status = 200, description = "The instance as it is now.", body = Success<Instance>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the change in the log."),
            ("ETag" = String, description = "For `If-Match` and `If-None-Match`."),
        )),
        SetInstanceKeysErrors,
    ),
)]
pub async fn put(
    InstanceUser { user_id }: InstanceUser,
    State(app): State<Arc<App>>,
    Path(id_or_name): Path<String>,
    if_match: IfMatch,
    Body(request): Body<SetInstanceKeysRequest>,
) -> Result<Reply<Instance>, ApiError> {
    let instance = Named::by(&id_or_name)?;
    let account = app.executor.state::<Account>(user_id).await?;
    let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("instance"))?;
    let keys = login_keys::resolve(user_id, profile, &request.keys)?;
    let origin = app.origin(Actor::User(user_id));
    let decide = move |instance_id, state: &Tenancy| SetInstanceKeys { instance_id, keys: keys.clone() }.decide(state);
    let (id, done) =
        own_instance::execute(&app.executor, user_id, origin, CommandClass::Growth, (instance, if_match), decide)
            .await
            .map_err(|error| from_execute(error, |refusal| refusal.answer(|rejection| rejected(&rejection))))?;
    app.wait_until_projected::<Instances>(done.current.sequence).await;
    let instance = done.current.state.instance(id).ok_or_else(|| ApiError::not_found("instance"))?;
    let (view, version) =
        (Instance::new(&app, user_id, id, instance, limits_of(&app, user_id).await?), Version::of(instance));
    let reply = Reply::ok("the keys are set", view).version(version, IfNoneMatch::default());
    Ok(reply.position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{SSH_KEY, TestApp};

    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO";

    #[tokio::test]
    async fn instance_keys_set_replace_the_others_and_nothing_else() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 5).await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let id = app.running_instance(&user, "web").await;
        let set = async |keys: &[&str], by: &str| {
            app.put("/api/v2/user/instance/web/keys", json!({ "keys": keys })).token(by).send().await
        };
        let answer = set(&["default", OTHER, SSH_KEY], &user.token).await;
        assert_eq!((answer.status, &answer.data()["status"]), (200, &json!("running")), "{answer:?}");
        assert_eq!(answer.data()["generation"], 1);
        assert_eq!(answer.data()["sshKeys"].as_array().unwrap().len(), 2, "{answer:?}");
        assert_eq!(app.keys_of(user.id, id).await, [SSH_KEY, OTHER]);
        let events = app.log.events().len();
        assert_eq!(set(&["default", OTHER], &user.token).await.status, 200);
        assert_eq!(app.log.events().len(), events, "nothing changes");
        assert_eq!(set(&["default", "laptop"], &user.token).await.error(), (400, "invalid_ssh_key"));
        assert_eq!(set(&[], &eve.token).await.error(), (404, "not_found"));
        assert_eq!(set(&[], &user.token).await.status, 200);
        assert_eq!(app.keys_of(user.id, id).await, [""; 0]);
    }
}
