//! `GET /api/v2/user/tokens`: the caller's API tokens. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::session::Sessions;

use crate::common::clock;
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::CurrentUser;
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Reply, Success};
use crate::http::views::ApiToken;

error_responses!(TokensErrors: CALLER);

/// List your API tokens
///
/// Those that are valid, the oldest first, without the tokens themselves.
#[utoipa::path(
    get,
    path = "/api/v2/user/tokens",
    operation_id = "listTokens",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    responses(
        (status = 200, description = "The tokens.", body = Success<Vec<ApiToken>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
        )),
        TokensErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
) -> Result<Reply<Vec<ApiToken>>, ApiError> {
    let sessions = app.executor.confirmed::<Sessions>(user_id.into()).await?;
    let tokens = sessions.state.tokens(clock::now());
    let tokens = tokens.map(|(id, token, expires_at)| ApiToken::new(id, token, expires_at, session_id));
    Ok(Reply::ok("your API tokens", tokens.collect::<Vec<_>>()).position(app.position(sessions.sequence)))
}
