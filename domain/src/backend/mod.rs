//! The backend: a registered machine that runs containers, and whether its agent is connected.

mod approve;
mod cordon;
mod drain;
mod enrol;
mod event;
mod mark_connected;
mod mark_lost;
mod remove;
mod revoke_key;
mod set_capacity;
mod set_labels;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::BackendId;
use crate::labels::Labels;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use approve::ApproveBackend;
pub use cordon::ChangeCordon;
pub use drain::{CancelDrain, Drain, EndDrain, StartDrain};
pub use enrol::{BackendExists, EnrolBackend};
pub use event::{
    Approved, BackendEvent, CapacitySet, Connected, Cordoned, DrainCancelled, DrainEnded, DrainStarted, Enrolled,
    KeyIssued, KeyRevoked, LabelsSet, Lost, Removed, Uncordoned, UsedToken,
};
pub use mark_connected::{MarkConnected, NotEnrolled};
pub use mark_lost::MarkLost;
pub use remove::{RemoveBackend, RemoveRejected};
pub use revoke_key::{IssueKey, RevokeKey};
pub use set_capacity::SetCapacity;
pub use set_labels::SetLabels;

/// A backend; empty until it is enrolled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The registered machine; `None` once it is removed.
    pub machine: Option<Machine>,
    /// What is left of it after its removal.
    #[serde(default)]
    pub removed: Option<RemovedMachine>,
}

/// A machine that was removed. Its agent may still connect, to be told which containers to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedMachine {
    /// The version of its key; `None` if that is revoked.
    pub key_version: Option<u32>,
    /// The key before, if it was still valid.
    #[serde(default)]
    pub previous_key: Option<PreviousKey>,
}

/// A key that another one has replaced, and that is valid for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousKey {
    /// Its version.
    pub version: u32,
    /// Until when it is valid.
    pub until: Timestamp,
}

/// For how long an API key is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyValidity {
    /// Until it is replaced or revoked.
    Unlimited,
    /// Until this time at most.
    Until(Timestamp),
}

impl Backend {
    /// For how long the API key of this version is valid; `None` if it is not valid at `now`. That of a removed backend is,
    /// unless it was revoked.
    #[must_use]
    pub fn key_validity(&self, version: u32, now: Timestamp) -> Option<KeyValidity> {
        let (current, previous) = match (&self.machine, self.removed) {
            (Some(machine), _) => (machine.valid_key_version()?, machine.previous_key),
            (None, Some(removed)) => (removed.key_version?, removed.previous_key),
            (None, None) => return None,
        };
        if version == current {
            return Some(KeyValidity::Unlimited);
        }
        let previous = previous.filter(|previous| previous.version == version && now < previous.until)?;
        Some(KeyValidity::Until(previous.until))
    }
}

/// A registered machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// As registered.
    pub details: Enrolled,
    /// When it was registered.
    pub enrolled_at: Timestamp,
    /// Whether its agent is connected.
    #[serde(rename = "link")]
    pub connection: ConnectionState,
    /// What its agent last reported about itself; unchanged while it is lost.
    #[serde(rename = "facts")]
    pub agent_info: Option<Connected>,
    /// Whether it may take instances at all.
    #[serde(default)]
    pub admission: Admission,
    /// Whether an administrator keeps new instances away from it.
    #[serde(default)]
    pub is_cordoned: bool,
    /// The capacity that an administrator set.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// The version of its last key, if another was issued than at its registration.
    #[serde(default)]
    pub issued_key: Option<u32>,
    /// Whether its last key is revoked, and with it the one before.
    #[serde(default)]
    pub is_key_revoked: bool,
    /// The key before its last one, if it may still be valid.
    #[serde(default)]
    pub previous_key: Option<PreviousKey>,
    /// The drain that was not undone; the backend is cordoned while there is one.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// What an administrator says about it; instances may require it.
    #[serde(default)]
    pub labels: Labels,
    /// Since when it is lost; `None` unless it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
}

impl Machine {
    /// The most containers that it may have: what an administrator set, or else what it asked for.
    #[must_use]
    pub fn max_containers(&self) -> u32 {
        self.capacity.unwrap_or_else(|| self.details.capacity())
    }

    /// The version of its last key, revoked or not.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.issued_key.unwrap_or(self.details.key_version)
    }

    /// The version of its valid key, if it has one.
    #[must_use]
    pub fn valid_key_version(&self) -> Option<u32> {
        (!self.is_key_revoked).then(|| self.key_version())
    }
}

/// Whether a backend may take instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Not before an administrator approves it. Its agent may connect.
    Pending,
    /// An administrator approved it, or nobody has to.
    #[default]
    Approved,
}

/// Whether an agent is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It has never connected.
    Enrolled,
    /// It sends heartbeats.
    Connected,
    /// It sent no heartbeat for too long.
    Lost,
}

impl Aggregate for Backend {
    type Id = BackendId;
    type Event = BackendEvent;

    const FOLD_DIGESTS: &'static [&'static str] = &[
        "4e1fabdbf4ffc08e91d8238a91cf88717b3d645381ec5261a2a4f159fc191d54",
        "b6d7a35a3f6a953ad0ead85f67a5903f4246e95ef98ff3c36dc4f3bd54d55e9f",
        "b41c2d92b3644810898be6ddce52bf34ef451f373af4f7b4af87032f9c7fab8c",
        "1a6dc4236842cc5b6bff9387071348dd7e0954c5c81dc62a351a45ff14e58857",
        "cf3f4f136d048b4c93aba309692cca630b588bf74176fe6e71a45689276b8ef5",
        "31b7edaa0d0d4ea5628b6cbc1e71c67b0efa5b4fe52ecf74d9233747f4226971",
        "c175a6848a9227ccd15f4eb73f8a89111cf88e9a8bb50d5df802e0e35b50c577",
        "7aed6cd6679de15851f0714b26e69b991c14d82e72bf372c1ad21c5476629b49",
    ];

    fn subject(id: BackendId) -> AggregateId {
        AggregateId::Backend(id)
    }

    fn event(event: &Event) -> Option<&BackendEvent> {
        if let Event::Backend(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &BackendEvent, meta: &Meta) {
        if let (BackendEvent::Removed(_), Some(machine)) = (event, &self.machine) {
            self.removed =
                Some(RemovedMachine { key_version: machine.valid_key_version(), previous_key: machine.previous_key });
            self.machine = None;
            return;
        }
        match (event, &mut self.machine) {
            (BackendEvent::Enrolled(details), machine) => {
                *machine = Some(Machine {
                    details: details.clone(),
                    enrolled_at: meta.time,
                    connection: ConnectionState::Enrolled,
                    agent_info: None,
                    admission: if details.awaits_approval { Admission::Pending } else { Admission::Approved },
                    is_cordoned: false,
                    capacity: None,
                    issued_key: None,
                    is_key_revoked: false,
                    previous_key: None,
                    drain: None,
                    labels: details.labels(),
                    lost_at: None,
                });
            }
            (BackendEvent::Connected(info), Some(machine)) => {
                machine.connection = ConnectionState::Connected;
                machine.lost_at = None;
                machine.agent_info = Some(info.clone());
            }
            (BackendEvent::Lost(_), Some(machine)) => {
                machine.connection = ConnectionState::Lost;
                machine.lost_at = Some(meta.time);
            }
            (BackendEvent::Cordoned(_), Some(machine)) => machine.is_cordoned = true,
            (BackendEvent::Uncordoned(_), Some(machine)) => {
                machine.is_cordoned = false;
                machine.drain = None;
            }
            (BackendEvent::DrainStarted(started), Some(machine)) => {
                machine.drain = Some(Drain::started(started, meta.time, machine.drain, machine.is_cordoned));
                machine.is_cordoned = true;
            }
            (BackendEvent::DrainEnded(_), Some(machine)) => {
                if let Some(drain) = &mut machine.drain {
                    drain.ended_at = Some(meta.time);
                }
            }
            (BackendEvent::DrainCancelled(_), Some(machine)) => {
                machine.is_cordoned &= machine.drain.is_none_or(|drain| drain.was_cordoned);
                machine.drain = None;
            }
            (BackendEvent::Approved(approved), Some(machine)) => {
                machine.admission = Admission::Approved;
                machine.capacity = Some(approved.max_containers);
            }
            (BackendEvent::CapacitySet(set), Some(machine)) => machine.capacity = Some(set.max_containers),
            (BackendEvent::LabelsSet(set), Some(machine)) => machine.labels = set.labels.clone(),
            (BackendEvent::KeyRevoked(_), Some(machine)) => machine.is_key_revoked = true,
            (BackendEvent::KeyIssued(issued), Some(machine)) => {
                // A key that was revoked stays so.
                let replaced = machine.valid_key_version();
                machine.previous_key =
                    replaced.zip(issued.previous_until).map(|(version, until)| PreviousKey { version, until });
                machine.issued_key = Some(issued.key_version);
                machine.is_key_revoked = false;
            }
            // `decide` rejects this, but a fold cannot fail.
            (BackendEvent::Removed(_), _) | (_, None) => {}
        }
    }
}
