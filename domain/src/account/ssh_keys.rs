//! The SSH keys of an account: the default one, which belongs to the profile, and further ones with names.

use serde::{Deserialize, Serialize};

use super::{Account, AccountEvent, ChangeProfile, NoSuchAccount, Profile};
use crate::aggregate::{Command, CommandClass};
use crate::ids::{SshKeyId, UserId};
use crate::names::DisplayName;
use crate::personal::Personal;
use crate::ssh_key::is_same_key;
use crate::timestamp::Timestamp;

/// The most keys of an account, the default one included.
pub const MAX_KEYS: usize = 20;
/// The name of the default key.
pub const DEFAULT_KEY: &str = "default";

/// The user added an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAdded {
    /// Its id.
    pub key_id: SshKeyId,
    /// Its name, unique in the account.
    pub name: Personal<DisplayName>,
    /// The OpenSSH public key.
    pub public_key: Personal<String>,
}

/// The user removed an SSH key that is not the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRemoved {
    /// Its id.
    pub key_id: SshKeyId,
}

/// A named key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedKey {
    /// Its name.
    pub name: Personal<DisplayName>,
    /// The OpenSSH public key.
    pub public_key: Personal<String>,
    /// When it was added.
    pub added_at: Timestamp,
}

/// A key of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountKey<'a> {
    /// Its id; that of the default key is the account's.
    pub id: SshKeyId,
    /// Its name; [`DEFAULT_KEY`] if absent.
    pub name: Option<&'a DisplayName>,
    /// The OpenSSH public key.
    pub public_key: &'a str,
    /// When it was added; unknown of the default key.
    pub added_at: Option<Timestamp>,
}

impl AccountKey<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.map_or(DEFAULT_KEY, DisplayName::as_str)
    }
}

/// The id of the default key.
#[must_use]
pub const fn default_key_id(user_id: UserId) -> SshKeyId {
    SshKeyId::from_uuid(user_id.uuid())
}

impl Profile {
    /// All keys: the default one first, then by the time at which they were added.
    pub fn keys(&self, user_id: UserId) -> impl Iterator<Item = AccountKey<'_>> {
        let default = self.details.ssh_public_key.as_ref().and_then(Personal::plain);
        let default = default.map(|key| AccountKey {
            id: default_key_id(user_id),
            name: None,
            public_key: key.as_str(),
            added_at: None,
        });
        let named = self.ssh_keys.iter().filter_map(|(id, key)| {
            let (name, public_key) = (key.name.plain()?, key.public_key.plain()?.as_str());
            Some(AccountKey { id: *id, name: Some(name), public_key, added_at: Some(key.added_at) })
        });
        default.into_iter().chain(named)
    }
}

/// Add a key.
#[derive(Debug, Clone)]
pub struct AddKey {
    /// The account.
    pub user_id: UserId,
    /// The id of the new key.
    pub key_id: SshKeyId,
    /// Its name.
    pub name: DisplayName,
    /// The OpenSSH public key.
    pub public_key: String,
}

/// Why a key is not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddKeyRejected {
    /// There is no such account.
    #[error(transparent)]
    NoAccount(#[from] NoSuchAccount),
    /// Another key has the name.
    #[error("you have an SSH key of this name")]
    NameTaken,
    /// The account has the key.
    #[error("you have this SSH key already, as `{0}`")]
    Exists(String),
    /// The account has as many keys as it may have.
    #[error("you have {MAX_KEYS} SSH keys; remove some first")]
    TooMany,
}

impl Command for AddKey {
    type Aggregate = Account;
    type Rejection = AddKeyRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, AddKeyRejected> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        let is_taken = |key: AccountKey<'_>| key.name() == self.name.as_str();
        if self.name.as_str() == DEFAULT_KEY || profile.keys(self.user_id).any(is_taken) {
            return Err(AddKeyRejected::NameTaken);
        }
        if let Some(same) = profile.keys(self.user_id).find(|key| is_same_key(key.public_key, &self.public_key)) {
            return Err(AddKeyRejected::Exists(same.name().to_owned()));
        }
        if profile.keys(self.user_id).count() >= MAX_KEYS {
            return Err(AddKeyRejected::TooMany);
        }
        Ok(Some(AccountEvent::KeyAdded(KeyAdded {
            key_id: self.key_id,
            name: self.name.clone().into(),
            public_key: self.public_key.clone().into(),
        })))
    }
}

/// Remove a key; nothing if there is no such key.
#[derive(Debug, Clone, Copy)]
pub struct RemoveKey {
    /// The account.
    pub user_id: UserId,
    /// The key.
    pub key_id: SshKeyId,
}

impl Command for RemoveKey {
    type Aggregate = Account;
    type Rejection = NoSuchAccount;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Account) -> Result<Option<AccountEvent>, NoSuchAccount> {
        let profile = state.profile.as_ref().ok_or(NoSuchAccount)?;
        if self.key_id == default_key_id(self.user_id) {
            return ChangeProfile { email: None, ssh_public_key: Some(None) }.decide(state);
        }
        let key_id = self.key_id;
        Ok(profile.ssh_keys.contains_key(&key_id).then_some(AccountEvent::KeyRemoved(KeyRemoved { key_id })))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::account::ProfileChanged;
    use crate::account::create::tests::details;
    use crate::testing::given;

    const ADA: UserId = UserId::from_uuid(Uuid::from_u128(1));

    fn add(n: u128, name: &str, key: &str) -> AddKey {
        let key_id = SshKeyId::from_uuid(Uuid::from_u128(100 + n));
        AddKey { user_id: ADA, key_id, name: name.parse().unwrap(), public_key: key.to_owned() }
    }

    fn added(n: u128, name: &str, key: &str) -> AccountEvent {
        let add = add(n, name, key);
        let (name, public_key) = (add.name.into(), add.public_key.into());
        AccountEvent::KeyAdded(KeyAdded { key_id: add.key_id, name, public_key })
    }

    fn remove(key_id: SshKeyId) -> RemoveKey {
        RemoveKey { user_id: ADA, key_id }
    }

    fn account() -> AccountEvent {
        let mut details = details("ada");
        details.ssh_public_key = Some("ssh-ed25519 AAAA ada@laptop".to_owned().into());
        AccountEvent::Created(details)
    }

    #[test]
    fn keys_added_are_listed_after_the_default_one_until_they_are_removed() {
        let account = given([account()])
            .when(add(1, "desktop", "ssh-ed25519 BBBB"))
            .then(added(1, "desktop", "ssh-ed25519 BBBB"))
            .when(add(2, "phone", "ssh-ed25519 CCCC"))
            .then(added(2, "phone", "ssh-ed25519 CCCC"));
        let names = |account: &Account| {
            account.profile.as_ref().unwrap().keys(ADA).map(|key| key.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&account.state), ["default", "desktop", "phone"]);
        let desktop = add(1, "desktop", "").key_id;
        let account = account
            .when(remove(desktop))
            .then(AccountEvent::KeyRemoved(KeyRemoved { key_id: desktop }))
            .when(remove(desktop))
            .then_nothing();
        let email = account.state.profile.as_ref().unwrap().details.email.clone();
        let account = account
            .when(remove(default_key_id(ADA)))
            .then(AccountEvent::ProfileChanged(ProfileChanged { email, ssh_public_key: None }));
        assert_eq!(names(&account.state), ["phone"]);
    }

    #[test]
    fn key_with_a_name_or_a_key_of_another_is_rejected() {
        given([account(), added(1, "desktop", "ssh-ed25519 BBBB")])
            .when(add(2, "desktop", "ssh-ed25519 CCCC"))
            .then_rejected(AddKeyRejected::NameTaken)
            .when(add(2, "default", "ssh-ed25519 CCCC"))
            .then_rejected(AddKeyRejected::NameTaken)
            .when(add(2, "laptop", "ssh-ed25519 AAAA another comment"))
            .then_rejected(AddKeyRejected::Exists("default".to_owned()));
        given([]).when(add(1, "desktop", "ssh-ed25519 BBBB")).then_rejected(AddKeyRejected::NoAccount(NoSuchAccount));
    }

    #[test]
    fn key_above_the_limit_is_rejected() {
        let many = (1..MAX_KEYS as u128).map(|n| added(n, &format!("key {n}"), &format!("ssh-ed25519 {n}")));
        given([account()].into_iter().chain(many))
            .when(add(99, "one more", "ssh-ed25519 ZZZZ"))
            .then_rejected(AddKeyRejected::TooMany);
    }
}
