//! The account: a user's profile, until the user is erased.

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

/// The permissions of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A user manages their own instances.
    User,
}

/// An account's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AccountEvent {
    /// The user signed up.
    #[serde(rename = "dockhost.account.created.v1")]
    Created(Created),
    /// The user was erased. Reactions release their claims, delete their instances, and destroy their sealing key last.
    #[serde(rename = "dockhost.account.erased.v1")]
    Erased(Erased),
}

impl AccountEvent {
    /// The `ce-type` of [`AccountEvent::Erased`], which is always the last event on its subject.
    pub const ERASED: &str = "dockhost.account.erased.v1";
}

/// The user signed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// Their name.
    pub username: Personal<Username>,
    /// Their email address, as entered.
    pub email: Personal<String>,
    /// The Argon2id verifier (PHC string) of their password.
    pub password_verifier: Personal<String>,
    /// The default OpenSSH public key of their instances.
    pub ssh_public_key: Option<Personal<String>>,
    /// Their permissions.
    pub role: Role,
}

/// The user was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// Who requested it.
    pub by: ErasedBy,
}

/// Who can request an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasedBy {
    /// The operator, with `dockhost erase-user`.
    Operator,
}

/// An account; empty before sign-up and after erasure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The profile, once created and until erased.
    pub profile: Option<Profile>,
    /// Whether the user was erased, which is final.
    pub erased: bool,
}

/// A user's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// As entered at sign-up.
    pub details: Created,
    /// The time of the sign-up.
    pub created_at: Timestamp,
}

impl Aggregate for Account {
    type Id = UserId;
    type Event = AccountEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &["82594e38e459bd882a80d6c89f400d724575cd07a2959696d91e52832f2a57f0"];

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
