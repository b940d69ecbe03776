//! Replaces the keys that may log in to an instance. Its desired state stays as it is: no new container, no restart, and no
//! operation to wait for.

use super::Tenancy;
use super::event::{KeysChanged, TenancyEvent};
use super::instance::Instance;
use crate::aggregate::{Command, CommandClass};
use crate::ids::InstanceId;
use crate::ssh_key::is_same_key;
use crate::wire::DesiredState;

/// The most keys of an instance.
pub const MAX_INSTANCE_KEYS: usize = 20;

/// Replace all keys of an instance; nothing if it has exactly these.
#[derive(Debug, Clone)]
pub struct SetInstanceKeys {
    /// The instance.
    pub instance_id: InstanceId,
    /// OpenSSH public keys, each once, [`MAX_INSTANCE_KEYS`] at most.
    pub keys: Vec<String>,
}

/// Why the keys can't be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRejected {
    /// The user has no such instance.
    #[error("no such instance")]
    NotFound,
    /// It is being deleted.
    #[error("the instance is being deleted")]
    Deleting,
}

impl Command for SetInstanceKeys {
    type Aggregate = Tenancy;
    type Rejection = KeysRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Growth
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, KeysRejected> {
        let instance = changeable(state, self.instance_id)?;
        Ok(changed(self.instance_id, instance, self.keys.clone()))
    }
}

/// Remove a key from an instance, also if it is the last one; nothing if the instance does not have it.
#[derive(Debug, Clone)]
pub struct RemoveInstanceKey {
    /// The instance.
    pub instance_id: InstanceId,
    /// The OpenSSH public key.
    pub key: String,
}

impl Command for RemoveInstanceKey {
    type Aggregate = Tenancy;
    type Rejection = KeysRejected;

    fn class(&self) -> CommandClass {
        CommandClass::Essential
    }

    fn decide(&self, state: &Tenancy) -> Result<Option<TenancyEvent>, KeysRejected> {
        let instance = changeable(state, self.instance_id)?;
        let left = instance.keys().filter(|key| !is_same_key(key, &self.key)).map(str::to_owned);
        Ok(changed(self.instance_id, instance, left.collect()))
    }
}

/// The instance, if its owner may change it.
pub(super) fn changeable(state: &Tenancy, id: InstanceId) -> Result<&Instance, KeysRejected> {
    let instance = state.instance(id).filter(|instance| !instance.is_deleted()).ok_or(KeysRejected::NotFound)?;
    match instance.desired {
        DesiredState::Deleted => Err(KeysRejected::Deleting),
        DesiredState::Running | DesiredState::Stopped if state.closed => Err(KeysRejected::NotFound),
        DesiredState::Running | DesiredState::Stopped => Ok(instance),
    }
}

fn changed(instance_id: InstanceId, instance: &Instance, keys: Vec<String>) -> Option<TenancyEvent> {
    let is_new = !instance.keys().eq(keys.iter().map(String::as_str));
    let keys = keys.into_iter().map(Into::into).collect();
    is_new.then_some(TenancyEvent::KeysChanged(KeysChanged { instance_id, keys }))
}
