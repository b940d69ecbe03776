//! The administrator who calls: an endpoint with this extractor in its signature answers 401 to a caller without a session,
//! and 403 to a user who is no administrator, or whose API token has not the scope `all`.
//!
//! The role is in the account, not in the token, so that a role that was taken away has no effect any more.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use dockhost_domain::account::Account;
use dockhost_domain::ids::UserId;
use dockhost_domain::refusal::{RefusalKind, RefusalSource};
use dockhost_domain::session::Scope;

use super::ClientAddress;
use super::caller::{CurrentUser, MAX_SESSION_AGE, Needs, is_read, user};
use crate::event_log::Freshness;
use crate::http::app::App;
use crate::http::response::{ApiError, Code};

/// The administrator who calls.
#[derive(Debug, Clone, Copy)]
pub struct CurrentAdmin {
    /// Their account.
    pub user_id: UserId,
}

impl FromRequestParts<Arc<App>> for CurrentAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let CurrentUser { user_id, .. } = user(app, parts, Needs::Scope(Scope::All)).await.inspect_err(|refused| {
            let kind = match refused.code() {
                Code::Unauthorized => RefusalKind::Unauthorized,
                Code::InsufficientScope | Code::ForeignOrigin => RefusalKind::Forbidden,
                // The log can't be read.
                _ => return,
            };
            let client = ClientAddress::of_request(&parts.extensions, &parts.headers, &app.settings.trusted_proxies);
            app.refusals.count(RefusalSource::Network(client.network()), kind);
        })?;
        if is_admin(app, user_id, is_read(parts)).await? {
            Ok(Self { user_id })
        } else {
            app.refusals.count(RefusalSource::User(user_id), RefusalKind::Forbidden);
            Err(ApiError::new(Code::Forbidden, "only administrators may do this"))
        }
    }
}

/// Whether the account has the role, on a state as fresh as that of the session.
async fn is_admin(app: &App, user_id: UserId, is_read: bool) -> Result<bool, ApiError> {
    let known = if is_read {
        app.executor.state::<Account>(user_id).await?
    } else {
        app.executor.current::<Account>(user_id, Freshness::Within(MAX_SESSION_AGE)).await?
    };
    // Another replica may have granted the role a moment ago.
    Ok(known.state.is_admin() || app.executor.confirmed::<Account>(user_id).await?.state.is_admin())
}
