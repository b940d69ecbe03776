//! Why a backend can't take an instance.

use crate::backend::{Admission, ConnectionState, Machine};
use crate::labels::Label;
use crate::room::Shortage;
use crate::wire::{EngineState, ImageState, MachineStatus};

/// Why a backend is not eligible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ineligible {
    /// An administrator has not approved it yet.
    Pending,
    /// An administrator revoked its API key.
    KeyRevoked,
    /// An administrator keeps new instances away from it.
    Cordoned,
    /// Its agent is not connected.
    NotConnected,
    /// Its agent has sent no heartbeat lately.
    Silent,
    /// Its container engine does not answer.
    EngineDown,
    /// It lacks the image of new instances.
    ImageMissing,
    /// It is downloading or building the image of new instances.
    ImageFetching,
    /// It has as many containers as it may have.
    Full,
    /// It has too little memory or processor time free.
    Short(Shortage),
    /// It lacks a label that the instance requires.
    LabelMissing(Label),
    /// It was tried before for this instance.
    AlreadyTried,
}

impl Ineligible {
    /// Why a machine can't take an instance, by what the log says of it. What an administrator decided comes first: the
    /// machine is meant to be so.
    #[must_use]
    pub const fn by_log(machine: &Machine) -> Option<Self> {
        match machine {
            Machine { admission: Admission::Pending, .. } => Some(Self::Pending),
            Machine { is_key_revoked: true, .. } => Some(Self::KeyRevoked),
            Machine { is_cordoned: true, .. } => Some(Self::Cordoned),
            Machine { connection: ConnectionState::Connected, .. } => None,
            _ => Some(Self::NotConnected),
        }
    }

    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::KeyRevoked => "key_revoked",
            Self::Cordoned => "cordoned",
            Self::NotConnected => "not_connected",
            Self::Silent => "silent",
            Self::EngineDown => "engine_down",
            Self::ImageMissing => "image_missing",
            Self::ImageFetching => "image_fetching",
            Self::Full => "full",
            Self::Short(Shortage::Memory { .. }) => "memory",
            Self::Short(Shortage::Cpu { .. }) => "cpu",
            Self::LabelMissing(_) => "label_missing",
            Self::AlreadyTried => "already_tried",
        }
    }

    /// The reason for an administrator.
    #[must_use]
    pub fn explain(&self) -> String {
        let text = match self {
            Self::Pending => "it awaits approval",
            Self::KeyRevoked => "its API key is revoked",
            Self::Cordoned => "it is cordoned",
            Self::NotConnected => "its agent is not connected",
            Self::Silent => "its agent sends no heartbeats",
            Self::EngineDown => "its container engine does not answer",
            Self::ImageMissing => "it lacks the image of new instances",
            Self::ImageFetching => "it is fetching the image of new instances",
            Self::Full => "it has as many containers as it may have",
            Self::Short(shortage) => return shortage.to_string(),
            Self::LabelMissing(label) => return format!("label {label} missing"),
            Self::AlreadyTried => "it was tried before for this instance",
        };
        text.to_owned()
    }

    /// Why a machine in this state can't take an instance. What the agent does not say is no reason.
    #[must_use]
    pub const fn of(status: &MachineStatus) -> Option<Self> {
        match status {
            MachineStatus { engine: Some(EngineState::Down { .. }), .. } => Some(Self::EngineDown),
            MachineStatus { image: Some(ImageState::Missing { .. }), .. } => Some(Self::ImageMissing),
            MachineStatus { image: Some(ImageState::Fetching { .. }), .. } => Some(Self::ImageFetching),
            _ => None,
        }
    }
}
