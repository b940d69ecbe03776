//! The backend: one machine that runs containers. In: enrolment, and what the one judge of heartbeats found. Out: who
//! it is, whether it is there, and where its containers are reached.

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
use crate::subject::AggregateId;
use crate::timestamp::Timestamp;

pub use enrol::{BackendExists, EnrolBackend};
pub use mark_connected::{MarkConnected, NotEnrolled};
pub use mark_lost::MarkLost;

/// What happens to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum BackendEvent {
    /// The machine was registered.
    #[serde(rename = "dockhost.backend.enrolled.v1")]
    Enrolled(Enrolled),
    /// Its agent was heard: for the first time, again, or with changed facts.
    #[serde(rename = "dockhost.backend.connected.v1")]
    Connected(Connected),
    /// Its agent fell silent for too long.
    #[serde(rename = "dockhost.backend.lost.v1")]
    Lost(Lost),
}

/// The machine was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// Its name, by which it signs in.
    pub username: Personal<Username>,
    /// The Argon2id verifier (PHC string) of its password.
    pub password_verifier: Personal<String>,
    /// The lab or room that it stands in.
    pub lab_name: Option<Personal<String>>,
    /// As the registrant named it.
    pub operating_system: Option<Personal<String>>,
    /// Containers that it takes at most.
    pub max_containers: u32,
    /// Which API key is good; the key itself is derived, never stored.
    pub key_version: u32,
}

/// Its agent was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// Where clients reach the ports of its containers.
    pub address: Personal<String>,
    /// `docker`, `podman` or `simulated`.
    pub runtime: String,
    /// The agent's version.
    pub agent_version: String,
}

/// Its agent fell silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Seconds of silence when it was given up.
    pub silent_for_seconds: u64,
}

/// One machine, or none yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The machine, once enrolled.
    pub machine: Option<Machine>,
}

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// As it was registered.
    pub details: Enrolled,
    /// When it was registered.
    pub enrolled_at: Timestamp,
    /// Whether it is there.
    #[serde(rename = "link")]
    pub connection: ConnectionState,
    /// What it said when it was last heard anew; kept while it is lost.
    #[serde(rename = "facts")]
    pub agent_info: Option<Connected>,
}

/// Whether a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// Registered, never heard of.
    Enrolled,
    /// Heard within the limit.
    Connected,
    /// Silent for too long.
    Lost,
}

impl Aggregate for Backend {
    type Id = BackendId;
    type Event = BackendEvent;

    const FOLD_VERSION: u32 = 1;

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
            (BackendEvent::Connected(facts), Some(machine)) => {
                machine.connection = ConnectionState::Connected;
                machine.agent_info = Some(facts.clone());
            }
            (BackendEvent::Lost(_), Some(machine)) => machine.connection = ConnectionState::Lost,
            // Unreachable by `decide`; a fold is total all the same.
            (BackendEvent::Connected(_) | BackendEvent::Lost(_), None) => {}
        }
    }
}
