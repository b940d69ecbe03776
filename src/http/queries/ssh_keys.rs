//! `GET /api/v2/user/keys`: the caller's SSH keys. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::{Account, AccountKey, default_key_id};
use dockhost_domain::ids::SshKeyId;

use crate::http::admin::list::{self, ArrayPage};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Query};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::SshKey;

error_responses!(SshKeysErrors: CALLER, &[Code::ValidationFailed]);

/// List your SSH keys
///
/// They log in to instances that are created without naming keys. `default` is the one of `PATCH /api/v2/user/me`.
#[utoipa::path(
    get,
    path = "/api/v2/user/keys",
    operation_id = "listSshKeys",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage),
    responses(
        (status = 200, description = "The keys, the default one first.", body = Success<Vec<SshKey>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
        )),
        SshKeysErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<SshKey>>, ApiError> {
    let page = page.page::<SshKeyId>()?;
    let account = app.executor.confirmed::<Account>(user_id).await?;
    let keys = account.state.profile.iter().flat_map(|profile| profile.keys(user_id));
    let default = default_key_id(user_id);
    let order = |id: SshKeyId| (id != default, id);
    let is_after = |key: &AccountKey<'_>, after: &SshKeyId| order(key.id) > order(*after);
    let (keys, next) = list::part(page.as_ref(), keys, |key| key.id, is_after);
    let reply = Reply::ok("your SSH keys", keys.into_iter().map(SshKey::new).collect::<Vec<_>>());
    Ok(reply.next_page(page.as_ref(), next).position(app.position(account.sequence)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{SSH_KEY, TestApp, pages};

    #[tokio::test]
    async fn list_ssh_keys_in_pages_has_the_default_one_first_and_each_once() {
        let app = TestApp::new().await;
        let user = app.signed_up_user("ada").await;
        for name in ["desktop", "phone"] {
            // The same key with another last byte.
            let key = format!("{}{}", &SSH_KEY[..SSH_KEY.len() - 1], if name == "phone" { "g" } else { "k" });
            let added = app.post("/api/v2/user/keys", json!({ "name": name, "sshPublicKey": key }));
            let added = added.token(&user.token).send().await;
            assert_eq!(added.status, 201, "{added:?}");
        }
        let get = async |query: &str| app.get(&format!("/api/v2/user/keys{query}")).token(&user.token).send().await;
        let all = get("").await.data().as_array().unwrap().clone();
        for limit in 1..=2 {
            let pages = pages(&get, &format!("?limit={limit}")).await;
            assert_eq!((pages[0].len(), pages.concat()), (limit, all.clone()));
        }
    }
}
