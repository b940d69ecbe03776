//! A user.

use dockhost_domain::account::{Profile, Role as AccountRole};
use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[schema(value_type = Uuid)]
    id: UserId,
    #[schema(required)]
    username: Option<String>,
    #[schema(required)]
    email: Option<String>,
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What a user may do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
}

impl User {
    /// The user of an account.
    pub fn new(id: UserId, profile: &Profile) -> Self {
        Self {
            id,
            username: profile.details.username.plain().map(ToString::to_string),
            email: profile.details.email.plain().cloned(),
            role: match profile.details.role {
                AccountRole::User => Role::User,
            },
            created_at: profile.created_at,
        }
    }
}
