//! The document of one user. Personal values are plain, and `null` once the user is erased.

use dockhost_domain::account::Role;
use dockhost_domain::ids::UserId;
use dockhost_domain::names::Username;
use dockhost_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Document, StoredModel};

/// The read model `users`.
#[derive(Debug, Clone, Copy)]
pub struct Users;

impl StoredModel for Users {
    const NAME: &'static str = "users";
    const FOLD_VERSION: u32 = 1;
    const INDEXES: &'static [&'static [&'static str]] = &[];

    type Document = UserDocument;
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
