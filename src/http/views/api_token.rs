//! An API token, as its user sees it.

use dockhost_domain::ids::SessionId;
use dockhost_domain::session;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An API token that is valid. The token itself is shown only when it is created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    #[schema(value_type = Uuid)]
    id: SessionId,
    name: String,
    scope: TokenScope,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether it is the one of this request.
    is_current: bool,
}

/// What an API token may do: `read` queries; `instances` also commands on instances; `all` everything but making tokens,
/// changing the password and erasing the account.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    Read,
    Instances,
    All,
}

impl From<TokenScope> for session::Scope {
    fn from(scope: TokenScope) -> Self {
        match scope {
            TokenScope::Read => Self::Read,
            TokenScope::Instances => Self::Instances,
            TokenScope::All => Self::All,
        }
    }
}

impl From<session::Scope> for TokenScope {
    fn from(scope: session::Scope) -> Self {
        match scope {
            session::Scope::Read => Self::Read,
            session::Scope::Instances => Self::Instances,
            session::Scope::All => Self::All,
        }
    }
}

impl ApiToken {
    /// The token, for a request of this session.
    pub fn new(id: SessionId, token: &session::ApiToken, expires_at: Timestamp, current: SessionId) -> Self {
        Self {
            id,
            name: token.details.name.plain().map(ToString::to_string).unwrap_or_default(),
            scope: token.details.scope.into(),
            created_at: token.created_at,
            expires_at,
            is_current: id == current,
        }
    }
}
