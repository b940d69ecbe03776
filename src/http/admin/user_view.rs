//! A user, as administrators see them.

use dockhost_domain::account::{Account, email_address};
use dockhost_domain::group::Groups;
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::personal::Personal;
use dockhost_domain::session::Sessions;
use dockhost_domain::subject::AllGroups;
use dockhost_domain::tenancy::Tenancy;
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::InstanceSums;
use dockhost_projections::users::{self, UserDocument};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::processors;
use crate::http::response::ApiError;
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
    /// When the account was disabled, if it is.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    disabled_at: Option<Timestamp>,
    /// What the user is told about that.
    #[schema(required)]
    disabled_reason: Option<String>,
    /// Their group; null if they are in none.
    #[schema(required)]
    group: Option<GroupOfUser>,
    /// Instances that are not deleted.
    instances: u64,
    /// The processors that they may use.
    cpu: f64,
    /// The memory that they may use, in MiB.
    memory_mib: u64,
    /// When they signed in last; null if never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_sign_in_at: Option<Timestamp>,
}

/// The group of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = UserGroup)]
pub struct GroupOfUser {
    #[schema(value_type = Uuid)]
    id: GroupId,
    name: String,
}

impl GroupOfUser {
    /// The group of this id, if there is one.
    pub fn find(groups: &Groups, id: Option<GroupId>) -> Option<Self> {
        let id = id?;
        Some(Self { id, name: groups.get(id)?.group.name.to_string() })
    }
}

/// - `active`: can sign in.
/// - `disabled`: an administrator disabled the account.
/// - `erased`: only the id and times remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    Active,
    Disabled,
    Erased,
}

impl From<UserState> for users::UserState {
    fn from(state: UserState) -> Self {
        match state {
            UserState::Active => Self::Active,
            UserState::Disabled => Self::Disabled,
            UserState::Erased => Self::Erased,
        }
    }
}

impl From<users::UserState> for UserState {
    fn from(state: users::UserState) -> Self {
        match state {
            users::UserState::Active => Self::Active,
            users::UserState::Disabled => Self::Disabled,
            users::UserState::Erased => Self::Erased,
        }
    }
}

impl AdminUser {
    /// Joins the document with the name of the user's group, their instances and their last sign-in.
    pub fn new(
        user: UserDocument,
        groups: &Groups,
        sums: Option<&InstanceSums>,
        last_sign_in_at: Option<Timestamp>,
    ) -> Self {
        let InstanceSums { instances, cpu_millis, memory_mib } = sums.copied().unwrap_or_default();
        Self {
            id: user.user_id,
            state: user.state().into(),
            username: user.username.map(String::from),
            email: user.email,
            role: user.role.into(),
            created_at: user.created_at,
            disabled_at: user.disabled_at,
            disabled_reason: user.disabled_reason,
            group: GroupOfUser::find(groups, user.group_id),
            instances,
            cpu: processors::of_millis(cpu_millis),
            memory_mib,
            last_sign_in_at,
        }
    }

    /// The user as this replica's log has them, for the answer to a command.
    ///
    /// # Errors
    /// `not_found` if there is none, or none any more; those of the log.
    pub async fn current(app: &App, id: UserId) -> Result<Self, ApiError> {
        let account = app.executor.state::<Account>(id).await?;
        let profile = account.state.profile.as_ref().ok_or_else(|| ApiError::not_found("user"))?;
        let tenancy = app.executor.state::<Tenancy>(id).await?;
        let used = tenancy.state.quota_use();
        let sessions = app.executor.state::<Sessions>(id.into()).await?;
        let groups = app.executor.state::<Groups>(AllGroups).await?;
        let disabled = profile.disabled.as_ref();
        let reason = disabled.and_then(|disabled| disabled.details.reason.as_ref());
        Ok(Self {
            id,
            state: if disabled.is_some() { UserState::Disabled } else { UserState::Active },
            username: profile.details.username.plain().map(ToString::to_string),
            email: email_address(&profile.details.email).cloned(),
            role: profile.role.into(),
            created_at: profile.created_at,
            disabled_at: disabled.map(|disabled| disabled.at),
            disabled_reason: reason.and_then(Personal::plain).cloned(),
            group: GroupOfUser::find(&groups.state, profile.group),
            instances: used.instances.into(),
            cpu: processors::of_millis(used.resources.cpu_millis),
            memory_mib: used.resources.memory_mib,
            last_sign_in_at: sessions.state.last_sign_in(),
        })
    }
}
