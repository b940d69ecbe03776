//! `POST /api/v2/user/keys`: adds a named SSH key to the caller's account.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{AddKey, AddKeyRejected};
use dockhost_domain::envelope::Actor;
use dockhost_domain::ids::SshKeyId;
use dockhost_domain::names::DisplayName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::auth::ssh_key;
use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{Body, CurrentUser, Repeatable};
use crate::http::response::documented::{BODY, CALLER_OF_COMMAND, COMMAND, REPEATABLE, error_responses};
use crate::http::response::error::from_execute;
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::SshKey;

/// A key and its name.
#[derive(Deserialize, garde::Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(examples(json!({
    "name": "desktop",
    "sshPublicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO",
})))]
pub struct AddSshKeyRequest {
    /// Unique in the account; `default` is taken.
    #[garde(skip)]
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"
    )]
    name: DisplayName,
    /// One line as in a `.pub` file: Ed25519, ECDSA, or RSA of at least 2048 bits; no options.
    #[serde(deserialize_with = "public_key")]
    #[garde(skip)]
    ssh_public_key: String,
}

fn public_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    ssh_key::normalise(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

error_responses!(
    AddSshKeyErrors: CALLER_OF_COMMAND, BODY, COMMAND, REPEATABLE,
    &[Code::NotFound, Code::NameTaken, Code::KeyExists, Code::TooManyKeys]
);

fn rejected(rejection: &AddKeyRejected) -> ApiError {
    let code = match rejection {
        AddKeyRejected::NoAccount(_) => return ApiError::new(Code::Unauthorized, "the account was erased"),
        AddKeyRejected::NameTaken => Code::NameTaken,
        AddKeyRejected::Exists(_) => Code::KeyExists,
        AddKeyRejected::TooMany => Code::TooManyKeys,
    };
    ApiError::new(code, rejection.to_string())
}

/// Add an SSH key
///
/// It logs in to instances that are created afterwards, unless the request names other keys. Existing instances keep their
/// keys: see `PUT /api/v2/user/instance/{instanceId}/keys`.
#[utoipa::path(
    post,
    path = "/api/v2/user/keys",
    operation_id = "addSshKey",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(Repeatable),
    request_body = AddSshKeyRequest,
    responses(
        (status = 201, description = "The key.", body = Success<SshKey>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the addition in the log."),
        )),
        AddSshKeyErrors,
    ),
)]
pub async fn post(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    key: Repeatable,
    Body(AddSshKeyRequest { name, ssh_public_key }): Body<AddSshKeyRequest>,
) -> Result<Reply<SshKey>, ApiError> {
    let key_id = SshKeyId::from_uuid(clock::fresh_uuid());
    let add = AddKey { user_id, key_id, name, public_key: ssh_public_key };
    let done = app
        .executor
        .execute(user_id, key.origin_of_new(&app, Actor::User(user_id), key_id.uuid()), add)
        .await
        .map_err(|error| from_execute(error, |rejection| rejected(&rejection)))?;
    let key_id = done.created(key_id, SshKeyId::from_uuid);
    let profile = done.current.state.profile.as_ref();
    let added = profile.and_then(|profile| profile.keys(user_id).find(|key| key.id == key_id));
    // A repeated request may come after the key was removed.
    let added = added.ok_or_else(|| ApiError::not_found("key"))?;
    Ok(Reply::created("the key is added", SshKey::new(added)).position(app.position(done.current.sequence)))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::{Value, json};

    use crate::http::testing::{Answer, SSH_KEY, TestApp};

    const PATH: &str = "/api/v2/user/keys";
    const DESKTOP: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO";

    async fn add(app: &TestApp, token: &str, name: &str, key: &str) -> Answer {
        app.post(PATH, json!({ "name": name, "sshPublicKey": key })).token(token).send().await
    }

    async fn names(app: &TestApp, token: &str) -> Vec<Value> {
        let listed = app.get(PATH).token(token).send().await;
        listed.data().as_array().unwrap().iter().map(|key| key["name"].clone()).collect()
    }

    #[tokio::test]
    async fn ssh_key_added_is_listed_after_the_default_one_with_its_fingerprint() {
        let app = TestApp::new().await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let added = add(&app, &user.token, "desktop", &format!("{DESKTOP} ada@desktop")).await;
        assert_eq!(added.status, 201, "{added:?}");
        assert_eq!(added.data()["fingerprint"], "SHA256:1C9QXBKspa0T9zjGgIb/Mfa1x0sWnp9YNED+O4Mwyj4");
        assert_eq!(names(&app, &user.token).await, ["default", "desktop"]);
        assert_eq!(names(&app, &eve.token).await, ["default"]);
        for (name, key, code) in [
            (
                "desktop",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqtj",
                (409, "name_taken"),
            ),
            ("default", DESKTOP, (409, "name_taken")),
            ("other", DESKTOP, (409, "key_exists")),
            ("other", SSH_KEY, (409, "key_exists")),
            ("other", "hello", (422, "validation_failed")),
            (" other", DESKTOP, (422, "validation_failed")),
        ] {
            assert_eq!(add(&app, &user.token, name, key).await.error(), code, "{name} {key}");
        }
    }

    #[tokio::test]
    async fn ssh_key_removed_is_removed_from_all_instances_of_its_user() {
        let app = TestApp::new().await;
        app.connected_backend("lab-1", 9).await;
        let (user, eve) = (app.user("ada").await, app.user("eve").await);
        let added = add(&app, &user.token, "desktop", DESKTOP).await;
        let (web, of_eve) = (app.running_instance(&user, "web").await, app.running_instance(&eve, "web").await);
        let body = json!({ "name": "one", "keys": ["desktop"] });
        let create = app.post("/api/v2/user/instance", body).token(&user.token);
        let one = create.header("prefer", "respond-async").send().await.data()["instanceId"].clone();
        let one = one.as_str().unwrap().parse().unwrap();
        let set = json!({ "keys": [DESKTOP] });
        let set = app.put(&format!("/api/v2/user/instance/{of_eve}/keys"), set).token(&eve.token).send().await;
        assert_eq!(set.status, 200, "{set:?}");
        assert_eq!(app.keys_of(user.id, web).await, [SSH_KEY, DESKTOP]);
        assert_eq!(app.keys_of(user.id, one).await, [DESKTOP]);

        let path = format!("{PATH}/{}", added.data()["id"].as_str().unwrap());
        let remove = |token: &str| app.request(Method::DELETE, &path).token(token).send();
        assert_eq!(remove(&eve.token).await.error(), (404, "not_found"));
        assert_eq!(remove(&user.token).await.status, 200);
        assert_eq!(remove(&user.token).await.error(), (404, "not_found"));
        assert_eq!(names(&app, &user.token).await, ["default"]);
        assert_eq!(app.keys_of(user.id, web).await, [SSH_KEY]);
        assert_eq!(app.keys_of(user.id, one).await, [""; 0]);
        assert_eq!(app.keys_of(eve.id, of_eve).await, [DESKTOP], "nobody changes the instances of others");
        // The default key, whose id is the account's.
        let path = format!("{PATH}/{}", user.id);
        assert_eq!(app.request(Method::DELETE, &path).token(&user.token).send().await.status, 200);
        assert!(names(&app, &user.token).await.is_empty());
    }
}
