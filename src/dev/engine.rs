//! Chooses the runtime of the embedded agents: Docker or Podman if its socket accepts a connection, else simulated.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Docker or Podman.
    Docker,
    /// No containers run; the agents simulate them.
    Simulated,
}

impl Runtime {
    /// The value of the agent's flag `--runtime`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Simulated => "simulated",
        }
    }
}

/// A runtime, and why it was chosen.
#[derive(Debug)]
pub struct RuntimeChoice {
    /// What runs the containers.
    pub runtime: Runtime,
    /// One sentence for the banner.
    pub reason: String,
}

/// Docker was requested, but there is no engine.
#[derive(Debug, thiserror::Error)]
#[error(
    "Docker was requested, but {0}; start Docker or Podman, set DOCKER_HOST to its socket, or use --runtime simulated"
)]
pub struct EngineNotFound(String);

/// Chooses a runtime. `host` is `DOCKER_HOST`, `runtime_dir` is `XDG_RUNTIME_DIR`.
///
/// # Errors
/// [`EngineNotFound`].
pub fn choose_runtime(
    requested: Option<Runtime>,
    host: Option<&str>,
    runtime_dir: Option<&str>,
) -> Result<RuntimeChoice, EngineNotFound> {
    if requested == Some(Runtime::Simulated) {
        return Ok(RuntimeChoice { runtime: Runtime::Simulated, reason: "requested".to_owned() });
    }
    let sockets = sockets(host.filter(|host| !host.is_empty()), runtime_dir);
    match sockets.iter().find(|socket| UnixStream::connect(socket).is_ok()) {
        Some(socket) => Ok(RuntimeChoice {
            runtime: Runtime::Docker,
            reason: format!("an engine responds at {}", socket.display()),
        }),
        None => {
            let paths: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
            let denied = sockets.iter().find(|socket| is_denied(socket));
            let reason = match (host, denied) {
                (_, Some(socket)) => format!(
                    "permission is denied for the engine's socket {}: add this user to the group docker and log in again",
                    socket.display()
                ),
                (Some(host), None) if paths.is_empty() => format!("DOCKER_HOST={host} is not a local socket"),
                (_, None) => format!("no engine responds at {}", paths.join(", ")),
            };
            if requested == Some(Runtime::Docker) {
                return Err(EngineNotFound(reason));
            }
            Ok(RuntimeChoice { runtime: Runtime::Simulated, reason })
        }
    }
}

/// Whether this user may not use the socket.
fn is_denied(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// The sockets of engines, in the order in which the agent tries them.
fn sockets(host: Option<&str>, runtime_dir: Option<&str>) -> Vec<PathBuf> {
    if let Some(host) = host {
        return host.strip_prefix("unix://").map(PathBuf::from).into_iter().collect();
    }
    let mut paths = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(dir) = runtime_dir.map(PathBuf::from) {
        paths.push(dir.join("docker.sock"));
        paths.push(dir.join("podman/podman.sock"));
    }
    paths.push(PathBuf::from("/run/podman/podman.sock"));
    paths
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn choose_runtime_responding_socket_is_docker() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let host = format!("unix://{}", path.display());
        assert_eq!(choose_runtime(None, Some(&host), None).unwrap().runtime, Runtime::Docker);
        assert_eq!(choose_runtime(Some(Runtime::Simulated), Some(&host), None).unwrap().runtime, Runtime::Simulated);
        // The file of a socket outlives its listener.
        drop(listener);
        assert!(path.exists());
        assert_eq!(choose_runtime(None, Some(&host), None).unwrap().runtime, Runtime::Simulated);
        let refused = choose_runtime(Some(Runtime::Docker), Some(&host), None).unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()) && refused.contains("--runtime simulated"), "{refused}");
    }

    #[test]
    fn choose_runtime_remote_docker_host_is_simulated() {
        let choice = choose_runtime(None, Some("tcp://127.0.0.1:2375"), None).unwrap();
        assert_eq!(choice.runtime, Runtime::Simulated);
        assert!(choice.reason.contains("not a local socket"), "{}", choice.reason);
    }
}
