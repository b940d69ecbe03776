//! What a heartbeat says about the machine beside its load: whether it can run containers now.
//!
//! Each part is optional. An agent that does not send one, for example of an earlier release, is treated as able.

use serde::{Deserialize, Serialize};

use crate::reported::ShortText;

/// The state of a machine, as its agent sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// The container engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineState>,
    /// The image of new containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageState>,
    /// The rules that keep containers away from the machine and its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationState>,
}

/// What a machine has for instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSize {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors, in thousandths.
    pub cpu_millis: u32,
}

/// The container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum EngineState {
    /// It answers.
    Ready,
    /// It does not answer: no container can be created, started, stopped or observed.
    Down {
        /// One sentence for the operator.
        reason: ShortText,
    },
}

/// The image of new containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ImageState {
    /// It is on the machine.
    Ready,
    /// It is not on the machine, and no attempt to get it is running.
    Missing {
        /// One sentence for the operator.
        reason: ShortText,
    },
    /// It is being downloaded or built.
    Fetching {
        /// How much is done, 0 to 100, if the total is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
        /// Bytes downloaded so far.
        #[serde(default)]
        bytes: u64,
    },
}

/// The rules that keep containers away from the machine and its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum IsolationState {
    /// They are in place.
    Enforced,
    /// They are not: containers may reach the machine and its network.
    Missing {
        /// One sentence for the operator.
        reason: ShortText,
    },
}
