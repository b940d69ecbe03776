//! Which runtime the embedded agents get: Docker or Podman if a socket answers, else simulated.
//!
//! In: what was asked for, and where sockets may be. Out: a choice, and the sentence that says why. The agents find
//! the engine and make their image themselves; here nothing is asked of it but whether it is there.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::ValueEnum;

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Docker or Podman.
    Docker,
    /// Nothing runs; the agents behave as if.
    Simulated,
}

impl Runtime {
    /// As the agent's flag wants it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Simulated => "simulated",
        }
    }
}

/// A runtime, and why.
#[derive(Debug)]
pub struct RuntimeChoice {
    /// What runs the containers.
    pub runtime: Runtime,
    /// One sentence for the banner.
    pub reason: String,
}

/// Docker was asked for, and there is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "Docker was asked for, but {0}; start Docker or Podman, lead DOCKER_HOST to its socket, or try --runtime simulated"
)]
pub struct EngineNotFound(String);

/// Decides. `host` is `DOCKER_HOST`, `runtime_dir` is `XDG_RUNTIME_DIR`.
///
/// # Errors
/// [`EngineNotFound`].
pub fn choose_runtime(
    requested: Option<Runtime>,
    host: Option<&str>,
    runtime_dir: Option<&str>,
) -> Result<RuntimeChoice, EngineNotFound> {
    if requested == Some(Runtime::Simulated) {
        return Ok(RuntimeChoice { runtime: Runtime::Simulated, reason: "asked for".to_owned() });
    }
    let sockets = sockets(host.filter(|host| !host.is_empty()), runtime_dir);
    match sockets.iter().find(|socket| UnixStream::connect(socket).is_ok()) {
        Some(socket) => Ok(RuntimeChoice { runtime: Runtime::Docker, reason: format!("{} answers", socket.display()) }),
        None => {
            let paths: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
            let reason = match (host, paths.is_empty()) {
                (Some(host), true) => format!("DOCKER_HOST={host} is no local socket"),
                _ => format!("nobody answers at {}", paths.join(", ")),
            };
            if requested == Some(Runtime::Docker) {
                return Err(EngineNotFound(reason));
            }
            Ok(RuntimeChoice { runtime: Runtime::Simulated, reason })
        }
    }
}

/// Where an engine may answer, in the order in which the agent asks.
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
    fn a_socket_that_answers_means_docker() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let host = format!("unix://{}", path.display());
        assert_eq!(choose_runtime(None, Some(&host), None).unwrap().runtime, Runtime::Docker);
        assert_eq!(choose_runtime(Some(Runtime::Simulated), Some(&host), None).unwrap().runtime, Runtime::Simulated);
        // A socket that was left behind answers nobody.
        drop(listener);
        assert!(path.exists());
        assert_eq!(choose_runtime(None, Some(&host), None).unwrap().runtime, Runtime::Simulated);
        let refused = choose_runtime(Some(Runtime::Docker), Some(&host), None).unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()) && refused.contains("--runtime simulated"), "{refused}");
    }

    #[test]
    fn only_local_sockets_count() {
        let choice = choose_runtime(None, Some("tcp://127.0.0.1:2375"), None).unwrap();
        assert_eq!(choice.runtime, Runtime::Simulated);
        assert!(choice.reason.contains("no local socket"), "{}", choice.reason);
    }
}
