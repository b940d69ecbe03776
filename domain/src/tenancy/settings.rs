//! Changes the name of an instance, what happens to it if its backend is lost, and until when it may run. None of it restarts
//! the instance.

use serde::{Deserialize, Serialize};

use super::Tenancy;
use super::event::{Lifetime, OnLost, TenancyEvent};
use super::keys::{KeysRejected, changeable};
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::minutes::Minutes;
use crate::names::InstanceName;
use crate::personal::Personal;
use crate::timestamp::Timestamp;

/// The settings of an instance from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingsChanged {
    /// The instance.
    pub instance_id: InstanceId,
    /// What happens if its backend is lost.
    pub on_lost: OnLost,
    /// Until when it may run.
    pub lifetime: Lifetime,
    /// Its new name; absent if it keeps the one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal<InstanceName>>,
    /// If an administrator changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_administrator: Option<ByAdministrator>,
}

/// What an administrator says about a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByAdministrator {
    /// What the owner is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Personal<String>>,
}

/// Change what is given, and keep the rest; nothing if it is so.
#[derive(Debug, Clone)]
pub struct ChangeSettings {
    /// The instance.
    pub instance_id: InstanceId,
    /// Its name.
    pub name: Option<InstanceName>,
    /// What happens if its backend is lost.
    pub on_lost: Option<OnLost>,
    /// When it is stopped; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// After how long without an SSH connection it is stopped; `Some(None)` for never.
    pub autostop: Option<Option<Minutes>>,
    /// The deciding replica's time.
    pub now: Timestamp,
}

/// Why the settings can't be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsRejected {
    /// The user has no such instance.
    #[error("no such instance")]
    NotFound,
    /// It is being deleted.
    #[error("the instance is being deleted")]
    Deleting,
    /// It would be stopped at once.
    #[error("the time to live ends in the past")]
    ExpiresInThePast,
    /// Another instance of the user has this name.
    #[error("another instance of the same user has this name")]
    NameTaken,
}

impl From<KeysRejected> for SettingsRejected {
    fn from(rejection: KeysRejected) -> Self {
        match rejection {
            KeysRejected::NotFound => Self::NotFound,
            KeysRejected::Deleting => Self::Deleting,
        }
    }
}

impl Command for ChangeSettings {
    type Aggregate = Tenancy;
    type Rejection = SettingsRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, SettingsRejected> {
        let instance_id = self.instance_id;
        let instance = changeable(state, instance_id)?;
        let (known, on_lost) = (instance.lifetime.set, self.on_lost.unwrap_or(instance.on_lost));
        let lifetime = Lifetime {
            expires_at: self.expires_at.unwrap_or(known.expires_at),
            autostop_minutes: self.autostop.unwrap_or(known.autostop_minutes),
        };
        let name = self.name.as_ref().filter(|name| instance.name.plain() != Some(*name));
        if name.is_none() && (on_lost, lifetime) == (instance.on_lost, known) {
            return Ok(None);
        }
        if name.is_some_and(|name| state.find_by_name(name).is_some()) {
            return Err(SettingsRejected::NameTaken);
        }
        if lifetime.expires_at != known.expires_at && lifetime.has_expired(self.now) {
            return Err(SettingsRejected::ExpiresInThePast);
        }
        let name = name.cloned().map(Into::into);
        let changed = SettingsChanged { instance_id, on_lost, lifetime, name, by_administrator: None };
        Ok(Some(TenancyEvent::SettingsChanged(changed)))
    }
}
