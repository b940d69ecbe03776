//! The document of one person. Personal values are plain here; they are `null` once the person was erased.

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

/// One person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserDocument {
    /// Who.
    #[serde(rename = "_id")]
    pub user_id: UserId,
    /// Their name.
    pub username: Option<Username>,
    /// Their email address, as typed.
    pub email: Option<String>,
    /// What they may do.
    pub role: Role,
    /// When they signed up.
    pub created_at: Timestamp,
    /// The OpenSSH public key that their instances get unless another is given.
    pub ssh_public_key: Option<String>,
    /// The last event folded in.
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
