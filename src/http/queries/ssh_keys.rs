//! `GET /api/v2/user/keys`: the caller's SSH keys. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::account::Account;

use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::CurrentUser;
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::SshKey;

error_responses!(SshKeysErrors: CALLER);

/// List your SSH keys
///
/// They log in to instances that are created without naming keys. `default` is the one of `PATCH /api/v2/user/me`.
#[utoipa::path(
    get,
    path = "/api/v2/user/keys",
    operation_id = "listSshKeys",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    responses(
        (status = 200, description = "The keys, the default one first.", body = Success<Vec<SshKey>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        SshKeysErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, .. }: CurrentUser,
    State(app): State<Arc<App>>,
) -> Result<Reply<Vec<SshKey>>, ApiError> {
    let account = app.executor.confirmed::<Account>(user_id).await?;
    let keys = account.state.profile.iter().flat_map(|profile| profile.keys(user_id));
    let keys = keys.map(SshKey::new).collect::<Vec<_>>();
    Ok(Reply::ok("your SSH keys", keys).position(app.position(account.sequence)))
}
