//! The port to whatever runs containers.
//!
//! In: one small act at a time. Out: what exists, or a typed refusal that the reconciler can act upon. A runtime knows
//! nothing of assignments' history: all decisions are in [`crate::step`], so Docker, Podman and the simulation decide
//! alike.
//!
//! There is no journal of commands beside the runtime. A container's name is made of its instance and placement, and
//! its labels say the same: the engine itself refuses a second one of that name, so a creation that is repeated after
//! a crash finds the first, and what exists is always asked of the engine, never of a file that may be behind it.

use std::future::Future;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::wire::{Assignment, ContainerSpec};

use crate::container::Container;

pub mod docker;
pub mod simulated;

/// Why a runtime could not.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A container of this instance and placement exists already.
    #[error("the container exists already")]
    AlreadyExists,
    /// Somebody else listens on a port of this container.
    #[error("a port of the container is taken: {0}")]
    PortTaken(String),
    /// No three consecutive ports of the range are free.
    #[error("no three consecutive ports of {0} are free")]
    NoPorts(crate::ports::PortRange),
    /// The image is not on this machine.
    #[error("there is no image {0}")]
    ImageMissing(String),
    /// The container is not there (any more).
    #[error("the container is gone")]
    NotFound,
    /// It was told to refuse.
    #[error("{0}")]
    Refused(String),
    /// Anything else; may pass by itself.
    #[error("{action}")]
    Other {
        /// What was tried, as in `could not start the container`.
        action: &'static str,
        /// What the engine said.
        #[source]
        source: anyhow::Error,
    },
}

impl RuntimeError {
    /// The sentence for people, with all causes.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// The name of the one container of an instance's placement.
#[must_use]
pub fn container_name(instance: InstanceId, placement: u32) -> String {
    format!("dockhost-{instance}-{placement}")
}

/// What runs containers. Every act may be repeated: action again what is done is no error.
pub trait Runtime: Send + Sync + 'static {
    /// `docker`, `podman` or `simulated`.
    fn kind(&self) -> &'static str;

    /// The containers of this backend, or those of one instance. None of them is [`crate::container::ContainerState::Running`]
    /// yet unless the runtime knows that its SSH server answers.
    fn list(&self, of: Option<InstanceId>) -> impl Future<Output = Result<Vec<Container>, RuntimeError>> + Send;

    /// Makes the image (the default one when none is named) available, if it isn't. May take minutes.
    fn ensure_image(&self, image: Option<&str>) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Makes the container of this assignment, with ports of its own, and doesn't start it.
    fn create(
        &self,
        assignment: &Assignment,
        spec: &ContainerSpec,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Starts it. One that has never run gets the authorized key first.
    fn start(
        &self,
        container: &Container,
        spec: Option<&ContainerSpec>,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Whether its SSH server greets, right now.
    fn is_ssh_ready(&self, container: &Container) -> impl Future<Output = bool> + Send;

    /// SHA-256 fingerprints of its SSH host keys, `SHA256:…` each; empty when it has none.
    fn host_keys(&self, container: &Container) -> impl Future<Output = Result<Vec<String>, RuntimeError>> + Send;

    /// Makes a stopped container anew from its own files, with other ports. It answers to its former id.
    fn recreate_with_new_ports(
        &self,
        container: &Container,
        assignment: &Assignment,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Stops it; its files stay.
    fn stop(&self, id: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Removes it and its files, running or not.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;
}
