//! Finds the container engine: a local socket, its API version, and whether it is Docker or Podman.
//!
//! Only local sockets are accepted, because the agent tests ports and SSH servers on the engine's machine.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::errors::other_error;
use crate::runtime::RuntimeError;

/// Timeout of a request to the engine, in seconds. A creation on a busy disk is slow.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// A connected engine.
#[derive(Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) kind: &'static str,
    /// The path of its socket.
    pub(super) socket: PathBuf,
}

impl Engine {
    pub(super) fn is_podman(&self) -> bool {
        self.kind == PODMAN
    }
}

impl Engine {
    /// Whether containers can read a directory of this machine that is mounted into them. With SELinux they can't, unless
    /// the directory is relabelled.
    pub(super) async fn can_read_mounts(&self) -> Result<bool, RuntimeError> {
        let info = self.docker.info().await.map_err(other_error("could not ask the engine about itself"))?;
        Ok(!info.security_options.iter().flatten().any(|option| option.contains("name=selinux")))
    }
}

const PODMAN: &str = "podman";

/// Why no engine is available.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address is not a local socket.
    #[error("{0:?} is not a local socket such as unix:///var/run/docker.sock")]
    NotLocalSocket(String),
    /// An engine's socket exists, and this user may not use it.
    #[error(
        "permission denied for the container engine's socket {0}: add this user to the group docker \
         (usermod -aG docker USER) and log in again, or run the agent as root"
    )]
    PermissionDenied(String),
    /// No engine answers on any of the sockets.
    #[error("no container engine answers at {at}: start Docker or Podman, or set DOCKER_HOST to its socket")]
    Unreachable {
        /// The sockets.
        at: String,
        /// The error of the last socket.
        #[source]
        source: bollard::errors::Error,
    },
}

/// Connects to the engine at `host`, or to the first default socket that answers.
///
/// # Errors
/// If none answers.
pub async fn connect(host: Option<&str>) -> Result<Engine, EngineError> {
    let sockets = match host {
        Some(host) if host.starts_with("unix://") => vec![host.to_owned()],
        Some(host) => return Err(EngineError::NotLocalSocket(host.to_owned())),
        None => default_sockets(dockhost_environment::variable("XDG_RUNTIME_DIR").as_deref()),
    };
    let mut last = None;
    for socket in &sockets {
        match probe(socket).await {
            Ok(engine) => {
                tracing::info!(socket, kind = engine.kind, "connected to the container engine");
                return Ok(engine);
            }
            Err(error) => last = Some(error),
        }
    }
    if let Some(denied) = sockets.iter().find(|socket| is_denied(path(socket))) {
        return Err(EngineError::PermissionDenied(path(denied).display().to_string()));
    }
    let at = sockets.join(", ");
    Err(match last {
        Some(source) => EngineError::Unreachable { at, source },
        None => EngineError::NotLocalSocket(at),
    })
}

async fn probe(socket: &str) -> Result<Engine, bollard::errors::Error> {
    // Uses the newest API version that client and engine support.
    let docker =
        Docker::connect_with_unix(socket, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)?.negotiate_version().await?;
    let version = docker.version().await?;
    let podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
    Ok(Engine { docker, kind: if podman { PODMAN } else { "docker" }, socket: path(socket).to_owned() })
}

/// The path of a socket's address.
fn path(socket: &str) -> &Path {
    Path::new(socket.strip_prefix("unix://").unwrap_or(socket))
}

/// Whether the socket, or the folder that contains it, can't be opened by this user.
fn is_denied(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn default_sockets(runtime_dir: Option<&str>) -> Vec<String> {
    let mut sockets = vec!["unix:///var/run/docker.sock".to_owned()];
    if let Some(dir) = runtime_dir {
        sockets.push(format!("unix://{dir}/docker.sock"));
        sockets.push(format!("unix://{dir}/podman/podman.sock"));
    }
    sockets.push("unix:///run/podman/podman.sock".to_owned());
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connect_without_an_engine_names_the_socket() {
        let error = connect(Some("unix:///nowhere/docker.sock")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no container engine answers at unix:///nowhere/docker.sock: "), "{text}");
        let error = connect(Some("tcp://127.0.0.1:2375")).await.unwrap_err();
        assert!(matches!(error, EngineError::NotLocalSocket(_)));
    }
}
