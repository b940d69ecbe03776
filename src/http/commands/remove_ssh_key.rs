//! `DELETE /api/v2/user/keys/{keyId}`: removes an SSH key from the caller's account and from all their instances.
//!
//! From the instances first: if the request breaks off, the key is still listed, and the request can be repeated. Then once
//! more, for an instance that was created with the key meanwhile.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, NoSuchAccount, RemoveKey};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::{SshKeyId, UserId};
use dockhost_domain::ssh_key::is_same_key;
use dockhost_domain::tenancy::{RemoveInstanceKey, Tenancy};
use dockhost_projections::users::Users;

use crate::execute::ExecuteError;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Path};
use crate::http::response::documented::{CALLER_OF_COMMAND, COMMAND, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Null, Reply, Success};

error_responses!(RemoveSshKeyErrors: CALLER_OF_COMMAND, COMMAND, &[Code::NotFound]);

fn not_found() -> ApiError {
    ApiError::not_found("SSH key")
}

/// Removes a key from all instances of a user that have it.
async fn remove_from_instances(app: &App, user_id: UserId, key: &str) -> Result<(), ApiError> {
    let tenancy = app.executor.confirmed::<Tenancy>(user_id).await?.state;
    let having = tenancy.existing().filter(|(_, instance)| instance.keys().any(|other| is_same_key(other, key)));
    for instance_id in having.map(|(id, _)| id).collect::<Vec<_>>() {
        let remove = RemoveInstanceKey { instance_id, key: key.to_owned() };
        match app.executor.execute(user_id, app.origin(Actor::User(user_id)), remove).await {
            // It is being deleted, or was.
            Ok(_) | Err(ExecuteError::Rejected(_)) => {}
            Err(error) => return Err(from_execute(error, |_| not_found())),
        }
    }
    Ok(())
}

/// Remove an SSH key
///
/// Also from all your instances: within seconds it logs in to none that runs. They are not restarted, and connections stay
/// open.
#[utoipa::path(
    delete,
    path = "/api/v2/user/keys/{keyId}",
    operation_id = "removeSshKey",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(("keyId" = Uuid, Path, description = "The key's id.")),
    responses(
        (status = 200, description = "The key is removed.", body = Success<Null>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the removal in the log."),
        )),
        RemoveSshKeyErrors,
    ),
)]
pub async fn delete(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Path(key_id): Path<String>,
) -> Result<Reply<Null>, ApiError> {
    let key_id: SshKeyId = key_id.parse().map_err(|_| not_found())?;
    let account = app.executor.confirmed::<Account>(user_id).await?.state;
    let profile = account.profile.as_ref().ok_or_else(not_found)?;
    let key = profile.keys(user_id).find(|key| key.id == key_id).ok_or_else(not_found)?.public_key.to_owned();
    remove_from_instances(&app, user_id, &key).await?;
    let done = app
        .executor
        .execute(user_id, app.origin(Actor::User(user_id)), RemoveKey { user_id, key_id })
        .await
        .map_err(|error| from_execute(error, |NoSuchAccount| not_found()))?;
    remove_from_instances(&app, user_id, &key).await?;
    app.wait_until_projected::<Users>(done.current.sequence).await;
    Ok(Reply::ok("the key is removed", Null).position(app.position(done.current.sequence)))
}
