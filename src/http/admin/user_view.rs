//! A user, as administrators see them.

use dockhost_domain::ids::UserId;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::users::UserDocument;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::views::Role;

/// A user, as administrators see them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminUser {
    #[schema(value_type = Uuid)]
    id: UserId,
    /// Null once the user is erased.
    #[schema(required)]
    username: Option<String>,
    /// Null if there is none, and once the user is erased.
    #[schema(required)]
    email: Option<String>,
    role: Role,
    state: UserState,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Instances that are not deleted.
    instances: u64,
}

/// - `active`: can sign in.
/// - `erased`: only the id and times remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    Active,
    Erased,
}

impl AdminUser {
    /// Joins the document with the number of the user's instances.
    pub fn new(user: UserDocument, instances: u64) -> Self {
        Self {
            id: user.user_id,
            state: if user.username.is_none() { UserState::Erased } else { UserState::Active },
            username: user.username.map(String::from),
            email: user.email,
            role: user.role.into(),
            created_at: user.created_at,
            instances,
        }
    }
}
