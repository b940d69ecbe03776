//! `GET /api/v2/user/tokens`: the caller's API tokens. They come from the log, not from a read model.

use std::sync::Arc;

use axum::extract::State;
use dockhost_domain::ids::SessionId;
use dockhost_domain::session::Sessions;

use crate::common::clock;
use crate::http::admin::list::{self, ArrayPage};
use crate::http::app::App;
use crate::http::consistency::LogPosition;
use crate::http::extract::{CurrentUser, Query};
use crate::http::response::documented::{CALLER, error_responses};
use crate::http::response::{ApiError, Code, Reply, Success};
use crate::http::views::ApiToken;

error_responses!(TokensErrors: CALLER, &[Code::ValidationFailed]);

/// List your API tokens
///
/// Those that are valid, the oldest first, without the tokens themselves.
#[utoipa::path(
    get,
    path = "/api/v2/user/tokens",
    operation_id = "listTokens",
    tag = "Users",
    security(("userToken" = []), ("userCookie" = [])),
    params(ArrayPage),
    responses(
        (status = 200, description = "The tokens.", body = Success<Vec<ApiToken>>, headers(
            ("Dockhost-Position" = LogPosition, description = "The position of the state shown."),
            ("Link" = String, description = "If there are more items: the next page, as `<?limit=…&cursor=…>; rel=\"next\"`."),
        )),
        TokensErrors,
    ),
)]
pub async fn get(
    CurrentUser { user_id, session_id }: CurrentUser,
    State(app): State<Arc<App>>,
    Query(page): Query<ArrayPage>,
) -> Result<Reply<Vec<ApiToken>>, ApiError> {
    let page = page.page::<SessionId>()?;
    let sessions = app.executor.confirmed::<Sessions>(user_id.into()).await?;
    let all = sessions.state.tokens(clock::now());
    let (tokens, next) = list::part(page.as_ref(), all, |(id, ..)| *id, |(id, ..), after| id > after);
    let tokens = tokens.into_iter().map(|(id, token, expires_at)| ApiToken::new(id, token, expires_at, session_id));
    let reply = Reply::ok("your API tokens", tokens.collect::<Vec<_>>());
    Ok(reply.next_page(page.as_ref(), next).position(app.position(sessions.sequence)))
}

#[cfg(test)]
mod tests {
    use crate::http::testing::{TestApp, pages};
    use crate::http::views::TokenScope;

    #[tokio::test]
    async fn list_tokens_in_pages_has_each_once() {
        let app = TestApp::new().await;
        let user = app.user("ada").await;
        for _ in 0..3 {
            app.api_token(&user, TokenScope::Read).await;
        }
        let get = async |query: &str| app.get(&format!("/api/v2/user/tokens{query}")).token(&user.token).send().await;
        let all = get("").await.data().as_array().unwrap().clone();
        let pages = pages(&get, "?limit=2").await;
        assert_eq!((pages[0].len(), pages.concat()), (2, all));
    }
}
