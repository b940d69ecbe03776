//! A user.

use dockhost_domain::account::{Profile, Role as AccountRole, email_address};
use dockhost_domain::ids::UserId;
use dockhost_domain::personal::Personal;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::users::UserDocument;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::version::Version;

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
///
/// - `user`: manage their own account and instances.
/// - `admin`: also manage everybody's, and the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl From<AccountRole> for Role {
    fn from(role: AccountRole) -> Self {
        match role {
            AccountRole::User => Self::User,
            AccountRole::Admin => Self::Admin,
        }
    }
}

impl From<Role> for AccountRole {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Admin => Self::Admin,
        }
    }
}

impl User {
    /// The user of an account.
    pub fn new(id: UserId, profile: &Profile) -> Self {
        Self {
            id,
            username: profile.details.username.plain().map(ToString::to_string),
            email: email_address(&profile.details.email).cloned(),
            role: profile.role.into(),
            created_at: profile.created_at,
        }
    }

    /// The version of the profile with this default key.
    pub fn version(&self, ssh_public_key: Option<&str>) -> Version {
        Version::of(&(self, ssh_public_key))
    }

    /// The version of an account's profile.
    pub fn version_of(id: UserId, profile: &Profile) -> Version {
        let key = profile.details.ssh_public_key.as_ref().and_then(Personal::plain);
        Self::new(id, profile).version(key.map(String::as_str))
    }

    /// The user of a document.
    pub fn of_document(document: UserDocument) -> Self {
        Self {
            id: document.user_id,
            username: document.username.map(|name| name.to_string()),
            email: document.email,
            role: document.role.into(),
            created_at: document.created_at,
        }
    }
}
