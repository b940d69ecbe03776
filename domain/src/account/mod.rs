//! The account: one person. Its events in, what sign-in and commands need to know of the person out.

mod create;
mod erase;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::UserId;
use crate::names::Username;
use crate::personal::Personal;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use create::{AccountExists, CreateAccount};
pub use erase::{EraseAccount, NoSuchAccount};

/// What a person may do beyond their own things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Their own instances.
    User,
}

/// What happens to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AccountEvent {
    /// A person signed up.
    #[serde(rename = "dockhost.account.created.v1")]
    Created(Created),
    /// The person was erased: their names are free again, the rest goes, and the key of what is sealed here last.
    #[serde(rename = "dockhost.account.erased.v1")]
    Erased(Erased),
}

impl AccountEvent {
    /// The `ce-type` of [`AccountEvent::Erased`]. Nothing follows it on its subject, so whoever must know whether a
    /// person was erased looks at the last event there.
    pub const ERASED: &str = "dockhost.account.erased.v1";
}

/// A person signed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// Their name.
    pub username: Personal<Username>,
    /// Their email address, as typed.
    pub email: Personal<String>,
    /// The Argon2id verifier (PHC string) of their password.
    pub password_verifier: Personal<String>,
    /// The OpenSSH public key that their instances get unless another is given.
    pub ssh_public_key: Option<Personal<String>>,
    /// What they may do.
    pub role: Role,
}

/// The person was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Who asked for it.
    pub by: ErasedBy,
}

/// Who may ask for an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasedBy {
    /// Whoever runs the service, by `dockhost erase-user`.
    Operator,
}

/// One person, or nobody yet, or nobody any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The profile, once created and until erased.
    pub profile: Option<Profile>,
    /// Whether the person was erased. Nothing comes after that.
    pub erased: bool,
}

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// As they signed up.
    pub details: Created,
    /// When they signed up.
    pub created_at: Timestamp,
}

impl Aggregate for Account {
    type Id = UserId;
    type Event = AccountEvent;

    const FOLD_VERSION: u32 = 1;

    fn subject(id: UserId) -> AggregateId {
        AggregateId::Account(id)
    }

    fn event(event: &Event) -> Option<&AccountEvent> {
        if let Event::Account(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &AccountEvent, meta: &Meta) {
        match event {
            AccountEvent::Created(details) => {
                self.profile = Some(Profile { details: details.clone(), created_at: meta.time });
            }
            AccountEvent::Erased(_) => *self = Self { profile: None, erased: true },
        }
    }
}
