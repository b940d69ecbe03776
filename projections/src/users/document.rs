//! The document of one user. Personal values are plain, and `null` once the user is erased.

use dockhost_domain::account::Role;
use dockhost_domain::ids::{GroupId, UserId};
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel, View};

/// The read model `users`.
#[derive(Debug, Clone, Copy)]
pub struct Users;

impl StoredModel for Users {
    const NAME: &'static str = "users";
    const FOLD_VERSION: u32 = 3;
    const INDEXES: &'static [&'static [&'static str]] = &[&["groupId"]];

    type Document = UserDocument;

    fn view() -> View {
        super::view::view()
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDocument {
    /// The user's id.
    #[serde(rename = "_id")]
    pub user_id: UserId,
    /// The username.
    pub username: Option<Username>,
    /// The email address, as typed.
    pub email: Option<String>,
    /// The role. Programs before `account.role-changed.v1` can't decode `admin`; they can't read that event either.
    pub role: Role,
    /// When the user signed up.
    pub created_at: Timestamp,
    /// The OpenSSH public key of instances that are created without one.
    pub ssh_public_key: Option<String>,
    /// When the account was disabled, if it is.
    #[serde(default)]
    pub disabled_at: Option<Timestamp>,
    /// What the user is told about that.
    #[serde(default)]
    pub disabled_reason: Option<String>,
    /// The user's group, if they are in one.
    #[serde(default)]
    pub group_id: Option<GroupId>,
    /// The sequence of the last event in it.
    pub seq: u64,
}

impl Document for UserDocument {
    type Id = UserId;

    fn id(&self) -> UserId {
        self.user_id
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}

/// Whether a user can sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserState {
    /// They can.
    Active,
    /// An administrator disabled the account.
    Disabled,
    /// Only the id and times remain.
    Erased,
}

impl UserDocument {
    /// The state. Only the document of an erased user has no name.
    #[must_use]
    pub const fn state(&self) -> UserState {
        match (&self.username, self.disabled_at) {
            (None, _) => UserState::Erased,
            (Some(_), Some(_)) => UserState::Disabled,
            (Some(_), None) => UserState::Active,
        }
    }
}
