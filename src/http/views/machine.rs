//! What a backend's agent says about its machine, beside the load.

use dockhost_domain::wire::{EngineState, Heartbeat, ImageState, IsolationState, MachineStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::processors;

/// What a backend's agent says about its machine. A part that it does not mention is null.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The container engine: `ready` or `down`.
    #[schema(required)]
    engine: Option<PartState>,
    /// The image of new instances: `ready`, `missing` or `fetching`.
    #[schema(required)]
    image: Option<PartState>,
    /// The rules that keep instances away from the machine and its network: `enforced` or `missing`.
    #[schema(required)]
    isolation: Option<PartState>,
    /// The memory that it has for instances, in MiB.
    #[schema(required)]
    memory_mib: Option<u32>,
    /// The processors that it has for instances.
    #[schema(required)]
    cpu: Option<f64>,
}

/// The state of one part of a machine.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct PartState {
    /// The state.
    state: &'static str,
    /// Why it is not as it should be; one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// How much is done, 0 to 100; only while `fetching`, and if the total is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    percent: Option<u8>,
    /// Bytes downloaded so far; only while `fetching`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<u64>,
}

impl PartState {
    fn new(state: &'static str) -> Self {
        Self { state, ..Self::default() }
    }

    fn because(state: &'static str, reason: &impl ToString) -> Self {
        Self { state, reason: Some(reason.to_string()), ..Self::default() }
    }
}

impl From<&EngineState> for PartState {
    fn from(state: &EngineState) -> Self {
        match state {
            EngineState::Ready => Self::new("ready"),
            EngineState::Down { reason } => Self::because("down", reason),
        }
    }
}

impl From<&ImageState> for PartState {
    fn from(state: &ImageState) -> Self {
        match state {
            ImageState::Ready => Self::new("ready"),
            ImageState::Missing { reason } => Self::because("missing", reason),
            ImageState::Fetching { percent, bytes } => {
                // Agents are not trusted.
                let percent = percent.map(|percent| percent.min(100));
                Self { percent, bytes: Some(*bytes), ..Self::new("fetching") }
            }
        }
    }
}

impl From<&IsolationState> for PartState {
    fn from(state: &IsolationState) -> Self {
        match state {
            IsolationState::Enforced => Self::new("enforced"),
            IsolationState::Missing { reason } => Self::because("missing", reason),
        }
    }
}

impl From<&Heartbeat> for Machine {
    fn from(heartbeat: &Heartbeat) -> Self {
        let MachineStatus { engine, image, isolation } = &heartbeat.machine;
        Self {
            engine: engine.as_ref().map(Into::into),
            image: image.as_ref().map(Into::into),
            isolation: isolation.as_ref().map(Into::into),
            memory_mib: heartbeat.size.map(|size| size.memory_mib),
            cpu: heartbeat.size.map(|size| processors::of_millis(size.cpu_millis.into())),
        }
    }
}
