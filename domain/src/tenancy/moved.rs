//! What happens to an instance if its backend is lost, and the event of its move to another backend.

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, InstanceId};
use crate::placement::Choice;
use crate::timestamp::Timestamp;

/// What happens to an instance with a container if its backend is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// It waits for its backend, which has its files.
    #[default]
    Wait,
    /// After a while it gets a new container on another backend, without its files.
    Recreate,
}

impl OnLost {
    /// Whether it is [`OnLost::Wait`].
    #[must_use]
    pub const fn is_wait(&self) -> bool {
        matches!(self, Self::Wait)
    }
}

/// The instance gets a new container on another backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The instance.
    pub instance_id: InstanceId,
    /// The new placement's number.
    pub placement: u32,
    /// The new generation's number.
    pub generation: u32,
    /// The backend that it was on, which removes its container when it can.
    pub from: BackendId,
    /// The chosen backend.
    pub choice: Choice,
    /// When the agent must have reported.
    pub deadline: Timestamp,
    /// Why.
    pub reason: MoveReason,
}

/// A move of an instance to another backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMove {
    /// The backend that it was on.
    pub from: BackendId,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: MoveReason,
}

/// Why an instance is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveReason {
    /// Its backend was lost for long.
    BackendLost,
    /// An administrator drains its backend.
    BackendDrained,
}

impl MoveReason {
    /// The reason for the instance's owner.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::BackendLost => "created again without its files, because its backend was lost",
            Self::BackendDrained => "created again without its files, because an administrator drains its backend",
        }
    }
}
