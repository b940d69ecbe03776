//! The account: a user's profile, until the user is erased.

mod change_group;
mod change_password;
mod change_profile;
mod change_role;
mod create;
mod disable;
mod erase;
mod reset_password;
mod ssh_keys;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::{GroupId, SshKeyId, UserId};
use crate::names::Username;
use crate::personal::Personal;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use change_group::ChangeUserGroup;
pub use change_password::ChangePassword;
pub use change_profile::ChangeProfile;
pub use change_role::{ChangeRole, RoleRejected};
pub use create::{AccountExists, CreateAccount};
pub use disable::{DisableAccount, EnableAccount};
pub use erase::{EraseAccount, NoSuchAccount};
pub use reset_password::{InvalidReset, IssuePasswordReset, ResetPassword};
pub use ssh_keys::{
    AccountKey, AddKey, AddKeyRejected, DEFAULT_KEY, KeyAdded, KeyRemoved, MAX_KEYS, NamedKey, RemoveKey,
    default_key_id,
};

/// The permissions of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A user manages their own instances.
    #[default]
    User,
    /// An administrator also manages the backends, and everybody's accounts and instances.
    Admin,
}

impl Role {
    /// The word in events and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// An account's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum AccountEvent {
    /// The user signed up.
    #[serde(rename = "dockhost.account.created.v1")]
    Created(Created),
    /// The user got another role. In one batch with it, [`Administrators`](crate::administrators::Administrators) changes.
    #[serde(rename = "dockhost.account.role-changed.v1")]
    RoleChanged(RoleChanged),
    /// The user's password was replaced.
    #[serde(rename = "dockhost.account.password-changed.v1")]
    PasswordChanged(PasswordChanged),
    /// An administrator let the user set a new password without the old one.
    #[serde(rename = "dockhost.account.password-reset-issued.v1")]
    PasswordResetIssued(PasswordResetIssued),
    /// The user's email address or default SSH key was replaced.
    #[serde(rename = "dockhost.account.profile-changed.v1")]
    ProfileChanged(ProfileChanged),
    /// The user added a named SSH key.
    #[serde(rename = "dockhost.account.key-added.v1")]
    KeyAdded(KeyAdded),
    /// The user removed a named SSH key.
    #[serde(rename = "dockhost.account.key-removed.v1")]
    KeyRemoved(KeyRemoved),
    /// An administrator put the user into a group, or took them out.
    #[serde(rename = "dockhost.account.group-changed.v1")]
    GroupChanged(GroupChanged),
    /// An administrator disabled the account. In one batch with it, the user's sessions and tenancy are suspended, and an
    /// administrator is removed from [`Administrators`](crate::administrators::Administrators).
    #[serde(rename = "dockhost.account.disabled.v1")]
    Disabled(Disabled),
    /// An administrator enabled the account again, in one batch with its sessions and its tenancy.
    #[serde(rename = "dockhost.account.enabled.v1")]
    Enabled(Enabled),
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
    /// Their email address, as entered; empty if there is none, which only the operator can choose.
    pub email: Personal<String>,
    /// The Argon2id verifier (PHC string) of their password.
    pub password_verifier: Personal<String>,
    /// The default OpenSSH public key of their instances.
    pub ssh_public_key: Option<Personal<String>>,
    /// Their permissions at first.
    pub role: Role,
    /// Their group at first, if they were invited to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
}

/// The user got another role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleChanged {
    /// Their permissions from now on.
    pub role: Role,
}

/// The user is in another group, or in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupChanged {
    /// Their group from now on; `None` if they are in none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub group_id: Option<GroupId>,
}

/// The user's password was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordChanged {
    /// The Argon2id verifier (PHC string) of the new password.
    pub password_verifier: Personal<String>,
}

/// An administrator let the user set a new password once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordResetIssued {
    /// Hex of a keyed hash of the secret that the user needs.
    pub secret_hash: String,
    /// When it is no longer valid.
    pub expires_at: Timestamp,
}

/// The user's email address or default SSH key was replaced; both values as they are from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileChanged {
    /// Their email address, as entered. If it changed, the claims changed in the same batch.
    pub email: Personal<String>,
    /// The default OpenSSH public key of their instances.
    pub ssh_public_key: Option<Personal<String>>,
}

/// An administrator disabled the account. It has no role but `user` from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disabled {
    /// What the administrator tells the user.
    pub reason: Option<Personal<String>>,
    /// What happens to their running instances.
    pub instances: DisabledInstances,
}

/// What happens to the running instances of a user whose account is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DisabledInstances {
    /// They are stopped.
    Stop,
    /// They go on.
    Leave,
}

/// An administrator enabled the account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enabled {}

/// The email address of an account; none for some that the operator created, whose events have an empty text.
#[must_use]
pub fn email_address(email: &Personal<String>) -> Option<&String> {
    email.plain().filter(|email| !email.is_empty())
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
    /// The user, with their password.
    User,
    /// An administrator.
    Admin,
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

/// A user's profile as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// As entered at sign-up or since.
    pub details: Created,
    /// The time of the sign-up.
    pub created_at: Timestamp,
    /// Their permissions now.
    #[serde(default)]
    pub role: Role,
    /// Their group, if they are in one.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// When they were put into it, or taken out of one.
    #[serde(default)]
    pub group_since: Option<Timestamp>,
    /// Since when and why the account is disabled, if it is.
    #[serde(default)]
    pub disabled: Option<DisabledSince>,
    /// The reset of the password that is not used yet.
    #[serde(default)]
    pub password_reset: Option<PasswordResetIssued>,
    /// The named SSH keys.
    #[serde(default)]
    pub ssh_keys: BTreeMap<SshKeyId, NamedKey>,
}

/// A disabled account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisabledSince {
    /// The last time that it was disabled.
    pub at: Timestamp,
    /// As requested then.
    #[serde(flatten)]
    pub details: Disabled,
}

impl Account {
    /// Whether the user is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| profile.role == Role::Admin)
    }
}

impl Aggregate for Account {
    type Id = UserId;
    type Event = AccountEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "82594e38e459bd882a80d6c89f400d724575cd07a2959696d91e52832f2a57f0",
        "d508a6c511168f7059898bf58426de1a889257aa83b07a9d350e322d6cd20b5f",
        "5313ef136880667b5d385d6172979d535b53a34959d9488daf8bd689b3cd281d",
        "21117f3096a1ecc9ee54fcf8528086cf416072ecb9f9a52a312de568c1929353",
        "d670b1947f6e5f6a66d4c8a9e81df067ee940a33bc35bc8fe998c63dba0f512e",
        "c9e8a5b98a23dff41dd83f4c5d7f12654c9a25110e437c1743ac7eb798b1e92e",
        "41f2e4758ecda44bbe6e757be8f254539a8259bdb3f4295fa356ba18bfc7c613",
        "a937b227190bf20a734e8b8c6925302cd41b112893adba7fe2940ef74908b177",
        "f89ef6cd743d4676ccce9ffb8d0a7d4361aca0403a5c431ac3fdb58fe1824d24",
    ];

    fn subject(id: UserId) -> AggregateId {
        AggregateId::Account(id)
    }

    fn event(event: &Event) -> Option<&AccountEvent> {
        if let Event::Account(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &AccountEvent, meta: &Meta) {
        match event {
            AccountEvent::Created(details) => {
                let (created_at, role) = (meta.time, details.role);
                self.profile = Some(Profile {
                    details: details.clone(),
                    created_at,
                    role,
                    group: details.group_id,
                    group_since: details.group_id.map(|_| meta.time),
                    disabled: None,
                    password_reset: None,
                    ssh_keys: BTreeMap::new(),
                });
            }
            AccountEvent::RoleChanged(changed) => {
                if let Some(profile) = &mut self.profile {
                    profile.role = changed.role;
                }
            }
            AccountEvent::GroupChanged(changed) => {
                if let Some(profile) = &mut self.profile {
                    (profile.group, profile.group_since) = (changed.group_id, Some(meta.time));
                }
            }
            AccountEvent::PasswordChanged(changed) => {
                if let Some(profile) = &mut self.profile {
                    profile.details.password_verifier = changed.password_verifier.clone();
                    profile.password_reset = None;
                }
            }
            AccountEvent::PasswordResetIssued(issued) => {
                if let Some(profile) = &mut self.profile {
                    profile.password_reset = Some(issued.clone());
                }
            }
            AccountEvent::ProfileChanged(changed) => {
                if let Some(profile) = &mut self.profile {
                    profile.details.email = changed.email.clone();
                    profile.details.ssh_public_key.clone_from(&changed.ssh_public_key);
                }
            }
            AccountEvent::KeyAdded(KeyAdded { key_id, name, public_key }) => {
                if let Some(profile) = &mut self.profile {
                    let (name, public_key) = (name.clone(), public_key.clone());
                    profile.ssh_keys.insert(*key_id, NamedKey { name, public_key, added_at: meta.time });
                }
            }
            AccountEvent::KeyRemoved(removed) => {
                if let Some(profile) = &mut self.profile {
                    profile.ssh_keys.remove(&removed.key_id);
                }
            }
            AccountEvent::Disabled(details) => {
                if let Some(profile) = &mut self.profile {
                    profile.role = Role::User;
                    profile.disabled = Some(DisabledSince { at: meta.time, details: details.clone() });
                }
            }
            AccountEvent::Enabled(_) => {
                if let Some(profile) = &mut self.profile {
                    profile.disabled = None;
                }
            }
            AccountEvent::Erased(_) => *self = Self { profile: None, erased: true },
        }
    }
}
