//! Which runtime the embedded agents get: Docker or Podman if a socket answers, else simulated.
//!
//! In: what was asked for, and where sockets may be. Out: a decision, and the sentence that says why. The agents find
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
pub struct Decision {
    /// What runs the containers.
    pub runtime: Runtime,
    /// One sentence for the banner.
    pub why: String,
}

/// Docker was asked for, and there is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "Docker was asked for, but {0}; start Docker or Podman, lead DOCKER_HOST to its socket, or try --runtime simulated"
)]
pub struct NoEngine(String);

/// Decides. `host` is `DOCKER_HOST`, `runtime_dir` is `XDG_RUNTIME_DIR`.
///
/// # Errors
/// [`NoEngine`].
pub fn decide(wish: Option<Runtime>, host: Option<&str>, runtime_dir: Option<&str>) -> Result<Decision, NoEngine> {
    if wish == Some(Runtime::Simulated) {
        return Ok(Decision { runtime: Runtime::Simulated, why: "asked for".to_owned() });
    }
    let sockets = sockets(host.filter(|host| !host.is_empty()), runtime_dir);
    match sockets.iter().find(|socket| UnixStream::connect(socket).is_ok()) {
        Some(socket) => Ok(Decision { runtime: Runtime::Docker, why: format!("{} answers", socket.display()) }),
        None => {
            let places: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
            let why = match (host, places.is_empty()) {
                (Some(host), true) => format!("DOCKER_HOST={host} is no local socket"),
                _ => format!("nobody answers at {}", places.join(", ")),
            };
            if wish == Some(Runtime::Docker) {
                return Err(NoEngine(why));
            }
            Ok(Decision { runtime: Runtime::Simulated, why })
        }
    }
}

/// Where an engine may answer, in the order in which the agent asks.
fn sockets(host: Option<&str>, runtime_dir: Option<&str>) -> Vec<PathBuf> {
    if let Some(host) = host {
        return host.strip_prefix("unix://").map(PathBuf::from).into_iter().collect();
    }
    let mut places = vec![PathBuf::from("/var/run/docker.sock")];
    if let Some(dir) = runtime_dir.map(PathBuf::from) {
        places.push(dir.join("docker.sock"));
        places.push(dir.join("podman/podman.sock"));
    }
    places.push(PathBuf::from("/run/podman/podman.sock"));
    places
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
        assert_eq!(decide(None, Some(&host), None).unwrap().runtime, Runtime::Docker);
        assert_eq!(decide(Some(Runtime::Simulated), Some(&host), None).unwrap().runtime, Runtime::Simulated);
        // A socket that was left behind answers nobody.
        drop(listener);
        assert!(path.exists());
        assert_eq!(decide(None, Some(&host), None).unwrap().runtime, Runtime::Simulated);
        let refused = decide(Some(Runtime::Docker), Some(&host), None).unwrap_err().to_string();
        assert!(refused.contains(&path.display().to_string()) && refused.contains("--runtime simulated"), "{refused}");
    }

    #[test]
    fn only_local_sockets_count() {
        let decision = decide(None, Some("tcp://127.0.0.1:2375"), None).unwrap();
        assert_eq!(decision.runtime, Runtime::Simulated);
        assert!(decision.why.contains("no local socket"), "{}", decision.why);
    }
}
