//! What backends reported, as events and states hold it.
//!
//! Earlier releases recorded any text. A value of the log can't be refused any more, so these types hold the text as it
//! was recorded, and what shows it asks for the valid value.

use serde::{Deserialize, Serialize};

use crate::personal::Personal;
use crate::reported::{ContainerId, HostKey, HostKeys, ShortText};
use crate::wire::{AgentError, ContainerEnd, Observation, Phase, Ports};

/// A recorded [`Observation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedObservation {
    /// Whether the container runs.
    pub phase: Phase,
    /// Its id in the container runtime, as recorded.
    pub container_id: String,
    /// Its published ports, as recorded.
    pub ports: RecordedPorts,
    /// Fingerprints of its SSH host keys, as recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// Why it does not run although it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<ContainerEnd>,
}

/// Recorded [`Ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPorts {
    /// To port 22.
    pub ssh: u16,
    /// To port 80.
    pub http: u16,
    /// To port 443.
    pub https: u16,
}

impl RecordedObservation {
    /// The observation as an agent can report it; `None` if a value is invalid.
    #[must_use]
    pub fn valid(&self) -> Option<Observation> {
        let host_keys: Option<Vec<HostKey>> = self.host_keys.iter().map(|key| key.parse().ok()).collect();
        Some(Observation {
            phase: self.phase,
            container_id: self.valid_container_id()?,
            ports: self.valid_ports()?,
            host_keys: host_keys?.try_into().ok()?,
            ended: self.ended,
        })
    }

    /// The container's id; `None` if it is invalid.
    #[must_use]
    pub fn valid_container_id(&self) -> Option<ContainerId> {
        self.container_id.parse().ok()
    }

    /// The ports; `None` if one of them is 0.
    #[must_use]
    pub fn valid_ports(&self) -> Option<Ports> {
        let RecordedPorts { ssh, http, https } = self.ports;
        [ssh, http, https].iter().all(|port| *port != 0).then_some(Ports { ssh, http, https })
    }

    /// The valid host keys, at most [`HostKeys::MAX`].
    #[must_use]
    pub fn valid_host_keys(&self) -> HostKeys {
        HostKeys::of(self.host_keys.iter().map(String::as_str))
    }
}

impl From<&Observation> for RecordedObservation {
    fn from(observation: &Observation) -> Self {
        let Ports { ssh, http, https } = observation.ports;
        Self {
            phase: observation.phase,
            container_id: observation.container_id.to_string(),
            ports: RecordedPorts { ssh, http, https },
            host_keys: observation.host_keys.as_slice().iter().map(ToString::to_string).collect(),
            ended: observation.ended,
        }
    }
}

/// A recorded [`AgentError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// The code, as recorded.
    pub code: String,
    /// One sentence for the instance's owner, as recorded. It may name a person or an image that belongs to one.
    pub message: Personal<String>,
}

impl RecordedError {
    /// The message in a form that can be shown; `None` if it was erased.
    #[must_use]
    pub fn shown_message(&self) -> Option<ShortText> {
        self.message.plain().map(|message| ShortText::cleaned(message))
    }
}

impl From<&AgentError> for RecordedError {
    fn from(error: &AgentError) -> Self {
        // In a state, an erased message and an empty one are the same.
        let message = Some(error.message.to_string()).filter(|message| !message.is_empty());
        Self { code: error.code.to_string(), message: message.map_or(Personal::Erased, Personal::Plain) }
    }
}
