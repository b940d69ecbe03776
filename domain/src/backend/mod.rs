//! The backend: a registered machine that runs containers, and whether its agent is connected.

mod enrol;
mod mark_connected;
mod mark_lost;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Meta};
use crate::event::Event;
use crate::ids::BackendId;
use crate::names::Username;
use crate::personal::Personal;
use crate::reported::BackendAddress;
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;
use crate::wire::Heartbeat;

pub use enrol::{BackendExists, EnrolBackend};
pub use mark_connected::{MarkConnected, NotEnrolled};
pub use mark_lost::MarkLost;

/// A backend's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum BackendEvent {
    /// The backend was registered.
    #[serde(rename = "dockhost.backend.enrolled.v1")]
    Enrolled(Enrolled),
    /// Its agent connected, or sent changed facts about itself.
    #[serde(rename = "dockhost.backend.connected.v1")]
    Connected(Connected),
    /// Its agent sent no heartbeat for too long.
    #[serde(rename = "dockhost.backend.lost.v1")]
    Lost(Lost),
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
    /// Its capacity.
    pub max_containers: u32,
    /// The version of the valid API key. The key is derived, not stored.
    pub key_version: u32,
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

/// A backend; empty until it is enrolled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The registered machine.
    pub machine: Option<Machine>,
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

    const FOLD_DIGESTS: &'static [&'static str] = &["4e1fabdbf4ffc08e91d8238a91cf88717b3d645381ec5261a2a4f159fc191d54"];

    fn subject(id: BackendId) -> AggregateId {
        AggregateId::Backend(id)
    }

    fn event(event: &Event) -> Option<&BackendEvent> {
        if let Event::Backend(event) = event { Some(event) } else { None }
    }

    fn evolve(&mut self, event: &BackendEvent, meta: &Meta) {
        match (event, &mut self.machine) {
            (BackendEvent::Enrolled(details), machine) => {
                *machine = Some(Machine {
                    details: details.clone(),
                    enrolled_at: meta.time,
                    connection: ConnectionState::Enrolled,
                    agent_info: None,
                });
            }
            (BackendEvent::Connected(info), Some(machine)) => {
                machine.connection = ConnectionState::Connected;
                machine.agent_info = Some(info.clone());
            }
            (BackendEvent::Lost(_), Some(machine)) => machine.connection = ConnectionState::Lost,
            // `decide` rejects this, but a fold cannot fail.
            (BackendEvent::Connected(_) | BackendEvent::Lost(_), None) => {}
        }
    }
}
