//! The events of a backend.

use serde::{Deserialize, Serialize};

use crate::ids::EnrolmentTokenId;
use crate::labels::Labels;
use crate::names::Username;
use crate::personal::Personal;
use crate::reported::BackendAddress;
use crate::timestamp::Timestamp;
use crate::wire::Heartbeat;

/// A backend's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum BackendEvent {
    /// The backend was registered.
    #[serde(rename = "dockhost.backend.enrolled.v2")]
    Enrolled(Enrolled),
    /// Its agent connected, or sent changed facts about itself.
    #[serde(rename = "dockhost.backend.connected.v1")]
    Connected(Connected),
    /// Its agent sent no heartbeat for too long.
    #[serde(rename = "dockhost.backend.lost.v1")]
    Lost(Lost),
    /// An administrator keeps new instances away from it.
    #[serde(rename = "dockhost.backend.cordoned.v1")]
    Cordoned(Cordoned),
    /// An administrator lets it take new instances again.
    #[serde(rename = "dockhost.backend.uncordoned.v1")]
    Uncordoned(Uncordoned),
    /// An administrator admitted it.
    #[serde(rename = "dockhost.backend.approved.v1")]
    Approved(Approved),
    /// An administrator set its capacity.
    #[serde(rename = "dockhost.backend.capacity-set.v1")]
    CapacitySet(CapacitySet),
    /// An administrator set its labels.
    #[serde(rename = "dockhost.backend.labels-set.v1")]
    LabelsSet(LabelsSet),
    /// An administrator revoked its API key.
    #[serde(rename = "dockhost.backend.key-revoked.v1")]
    KeyRevoked(KeyRevoked),
    /// An administrator issued another API key.
    #[serde(rename = "dockhost.backend.key-issued.v1")]
    KeyIssued(KeyIssued),
    /// An administrator drains it, and so cordons it.
    #[serde(rename = "dockhost.backend.drain-started.v1")]
    DrainStarted(DrainStarted),
    /// Nothing is left to stop, or the deadline has passed.
    #[serde(rename = "dockhost.backend.drain-ended.v1")]
    DrainEnded(DrainEnded),
    /// An administrator undid the drain.
    #[serde(rename = "dockhost.backend.drain-cancelled.v1")]
    DrainCancelled(DrainCancelled),
    /// An administrator removed it from the fleet.
    #[serde(rename = "dockhost.backend.removed.v1")]
    Removed(Removed),
}

/// The backend was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The name that it signs in with.
    pub username: Personal<Username>,
    /// The Argon2id verifier (PHC string) of its password.
    pub password_verifier: Personal<String>,
    /// The name of its lab or room.
    pub lab_name: Option<Personal<String>>,
    /// As entered at registration.
    pub operating_system: Option<Personal<String>>,
    /// The capacity that it asks for; it counts until an administrator sets another.
    pub max_containers: u32,
    /// The version of the valid API key. The key is derived, not stored.
    pub key_version: u32,
    /// Whether it takes no instances before an administrator approves it.
    pub awaits_approval: bool,
    /// The enrolment token that it was registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<UsedToken>,
}

impl Enrolled {
    /// Its capacity: what the token says, or else what it asks for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.token.as_ref().and_then(|token| token.max_containers).unwrap_or(self.max_containers)
    }

    /// Its labels: what the token says.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.token.as_ref().map(|token| token.labels.clone()).unwrap_or_default()
    }
}

/// The enrolment token that a backend was registered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsedToken {
    /// The token's id.
    pub id: EnrolmentTokenId,
    /// The capacity that the token sets.
    pub max_containers: Option<u32>,
    /// The labels that the token sets.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Its agent connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// The address of its containers' ports, as recorded; see [`Connected::valid_address`].
    pub address: Personal<String>,
    /// `docker`, `podman` or `simulated`.
    pub runtime: String,
    /// The agent's version.
    pub agent_version: String,
}

impl Connected {
    /// What a heartbeat says about the backend.
    #[must_use]
    pub fn from_heartbeat(heartbeat: &Heartbeat) -> Self {
        Self {
            address: heartbeat.address.to_string().into(),
            runtime: heartbeat.runtime.to_string(),
            agent_version: heartbeat.agent_version.to_string(),
        }
    }

    /// The address; `None` if it is erased, or was recorded by an earlier release and is invalid.
    #[must_use]
    pub fn valid_address(&self) -> Option<BackendAddress> {
        self.address.plain()?.parse().ok()
    }
}

/// Its agent sent no heartbeat for too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Seconds since the last heartbeat.
    pub silent_for_seconds: u64,
}

/// An administrator keeps new instances away from the backend. What is on it goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cordoned {}

/// An administrator lets the backend take new instances again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uncordoned {}

/// An administrator admitted the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// Its capacity from now on, whatever it asked for.
    pub max_containers: u32,
}

/// An administrator set the backend's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacitySet {
    /// Its capacity, whatever it asked for.
    pub max_containers: u32,
}

/// An administrator set the backend's labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelsSet {
    /// All its labels; others are gone.
    pub labels: Labels,
}

/// An administrator revoked the backend's API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevoked {
    /// The version of the key that is valid no longer.
    pub key_version: u32,
}

/// An administrator issued another API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyIssued {
    /// The version of the new key.
    pub key_version: u32,
    /// Until when the key before is valid, too; it is valid no longer if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Timestamp>,
}

/// An administrator drains the backend: what runs on it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainStarted {
    /// Until when its instances must have stopped.
    pub deadline: Timestamp,
    /// Whether it is removed once it has no instances.
    pub retire: bool,
}

/// The leader ended the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainEnded {
    /// How many instances have not stopped.
    pub left: u32,
}

/// An administrator undid the drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainCancelled {}

/// An administrator removed the backend from the fleet, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Whether it was removed although it could be given instances.
    pub forced: bool,
}
