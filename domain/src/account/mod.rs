//! The account: one person. Its events in, what sign-in and commands need to know of the person out.

mod create;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::UserId;
use crate::names::Username;
use crate::personal::Personal;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use create::{AccountExists, CreateAccount};

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

/// One person, or nobody yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The profile, once created.
    pub profile: Option<Profile>,
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
        }
    }
}
