//! The interface to container runtimes.
//!
//! All decisions are in [`crate::step`], so Docker, Podman and the simulation behave alike. The agent keeps no journal: a
//! container's name and labels contain its instance and placement, so the engine rejects a second creation after a crash,
//! and the engine's list is always the observed state.

use std::collections::BTreeMap;
use std::future::Future;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::{ContainerId, HostKeys, ShortText};
use dockhost_domain::wire::{Assignment, ContainerEnd, ContainerSpec, IsolationState};

use crate::container::Container;

pub mod docker;
pub mod simulated;

/// What users read if the engine did not answer.
const NO_ENGINE: &str = "the container engine of its machine does not answer";

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A container of this instance and placement already exists.
    #[error("the container already exists")]
    AlreadyExists,
    /// Another process uses a port of this container.
    #[error("a port of the container is in use: {0}")]
    PortTaken(String),
    /// No three consecutive ports of the range are free.
    #[error("no three consecutive ports of {0} are free")]
    NoPorts(crate::ports::PortRange),
    /// The image is not on this machine.
    #[error("image {0} not found")]
    ImageMissing(String),
    /// The instances' network, or the one that the container was connected to, does not exist.
    #[error("the instances' network does not exist: {0}")]
    NetworkMissing(String),
    /// The container does not exist.
    #[error("the container does not exist")]
    NotFound,
    /// Any other error; a retry may succeed.
    #[error("{action}")]
    Other {
        /// The failed action, such as `could not start the container`.
        action: &'static str,
        /// The engine's error.
        #[source]
        source: anyhow::Error,
    },
}

impl RuntimeError {
    /// The message and all causes, separated by colons.
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

    /// One sentence for the instance's owner: what failed, and what the engine answered. If the engine did not answer,
    /// it says so, without the causes, which only whoever reads the agent's log understands.
    #[must_use]
    pub fn for_users(&self) -> ShortText {
        use bollard::errors::Error;
        let text = match self {
            Self::Other { action, source } => match source.downcast_ref() {
                Some(
                    Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message },
                ) => format!("{action}: {message}"),
                Some(
                    Error::HyperResponseError { .. }
                    | Error::HyperLegacyError { .. }
                    | Error::IOError { .. }
                    | Error::RequestTimeoutError
                    | Error::SocketNotFoundError(_),
                ) => NO_ENGINE.to_owned(),
                _ => (*action).to_owned(),
            },
            other => other.to_string(),
        };
        ShortText::cleaned(&text)
    }
}

/// How much of an image has been downloaded or built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// 0 to 100, if the total is known.
    pub percent: Option<u8>,
    /// Bytes downloaded.
    pub bytes: u64,
}

impl std::fmt::Display for FetchProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.percent, self.bytes / 1_000_000) {
            (Some(percent), _) => write!(f, "{percent} % done"),
            (None, 0) => f.write_str("just begun"),
            (None, megabytes) => write!(f, "{megabytes} MB downloaded"),
        }
    }
}

/// The name of the container of an instance's placement.
#[must_use]
pub fn container_name(instance: InstanceId, placement: u32) -> String {
    format!("dockhost-{instance}-{placement}")
}

/// Runs containers. Starting a running container or stopping a stopped one succeeds.
pub trait Runtime: Send + Sync + 'static {
    /// `docker`, `podman`, `simulated` or `socketio`.
    fn kind(&self) -> &'static str;

    /// Is told of each assignment before anything is done for it: a runtime whose engine can't list its containers learns
    /// here which ones there are.
    fn assigned(&self, _assignment: &Assignment) {}

    /// The containers of this backend, or of one instance. A running one is listed as
    /// [`crate::container::ContainerState::Starting`] unless the runtime knows that its SSH server answers.
    fn list(&self, of: Option<InstanceId>) -> impl Future<Output = Result<Vec<Container>, RuntimeError>> + Send;

    /// Whether the engine answers at this moment.
    fn probe(&self) -> impl Future<Output = Result<(), RuntimeError>> + Send {
        async { self.list(None).await.map(drop) }
    }

    /// Downloads or builds the image (`None`: the default one) if it is missing. May take minutes, in which it calls
    /// `progress` again and again.
    fn ensure_image(
        &self,
        image: Option<&str>,
        progress: &(dyn Fn(FetchProgress) + Send + Sync),
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Compares the isolation rules with those that must be there, and makes them again. `None` if instances may reach
    /// this machine and its networks by configuration, or can't.
    fn enforce_isolation(&self) -> impl Future<Output = Option<IsolationState>> + Send {
        std::future::ready(None)
    }

    /// Removes what deleted instances have left behind.
    fn remove_leftovers(&self) -> impl Future<Output = Result<(), RuntimeError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Creates the container of this assignment with newly allocated ports, without starting it.
    fn create(
        &self,
        assignment: &Assignment,
        spec: &ContainerSpec,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Starts the container; before its first start, uploads the keys that may log in.
    fn start(
        &self,
        container: &Container,
        spec: Option<&ContainerSpec>,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Replaces the keys that may log in to a container that has run, unless it has those of this version or a later one.
    /// It is not restarted, and connections stay open.
    fn authorize(
        &self,
        container: &Container,
        spec: &ContainerSpec,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Whether its SSH server answers at this moment.
    fn is_ssh_ready(&self, container: &Container) -> impl Future<Output = bool> + Send;

    /// Whether somebody is connected by SSH to each running container of this backend. Those whose connections can't be seen are
    /// absent.
    fn ssh_connections(&self) -> impl Future<Output = Result<BTreeMap<InstanceId, bool>, RuntimeError>> + Send;

    /// SHA-256 fingerprints of its SSH host keys, `SHA256:…` each; empty if it has none yet.
    fn host_keys(&self, container: &Container) -> impl Future<Output = Result<HostKeys, RuntimeError>> + Send;

    /// Recreates a stopped container from its files, with other ports. The new one keeps the old id in `former_ids`.
    fn recreate_with_new_ports(
        &self,
        container: &Container,
        assignment: &Assignment,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Stops the container; its files stay.
    fn stop(&self, id: &ContainerId) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Why this container, which does not run, ended.
    fn end(&self, id: &ContainerId) -> impl Future<Output = Result<ContainerEnd, RuntimeError>> + Send;

    /// The engine's time in Unix seconds, by its own clock.
    fn engine_time(&self) -> impl Future<Output = Result<i64, RuntimeError>> + Send;

    /// Calls `changed` for each container of this backend that has ended or was removed since `since`, an
    /// [`Runtime::engine_time`], whoever did it. Returns when the engine's events end.
    fn watch(
        &self,
        since: i64,
        changed: &(dyn Fn(InstanceId) + Send + Sync),
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// Removes the container and its files, running or not.
    fn remove(&self, id: &ContainerId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
}

#[cfg(test)]
mod tests {
    use bollard::errors::Error;

    use super::*;

    #[test]
    fn runtime_error_for_users_has_the_answer_of_the_engine_but_no_causes() {
        let text = |source: anyhow::Error| {
            RuntimeError::Other { action: "could not list the containers", source }.for_users().to_string()
        };
        let answer = |message: &str| Error::DockerResponseServerError { status_code: 500, message: message.to_owned() };
        assert_eq!(text(answer("disk\nfull").into()), "could not list the containers: disk full");
        assert_eq!(text(answer(&"x".repeat(1000)).into()).chars().count(), ShortText::MAX_CHARS);
        assert_eq!(text(Error::RequestTimeoutError.into()), NO_ENGINE);
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(text(Error::IOError { err: missing }.into()), NO_ENGINE);
        assert_eq!(text(anyhow::anyhow!("hyper: os error 2")), "could not list the containers");
        assert_eq!(RuntimeError::ImageMissing("box".to_owned()).for_users().as_str(), "image box not found");
    }
}
