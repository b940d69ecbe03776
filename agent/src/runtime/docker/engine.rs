//! Finding the engine.
//!
//! In: the socket that was named, or none. Out: a client that speaks a version of the API which the engine knows too,
//! and whether it is Docker or Podman. Only local sockets: the agent probes ports and is_ready SSH servers on the
//! engine's own machine.

use bollard::{API_DEFAULT_VERSION, Docker};

/// Seconds that the engine may take to answer; creating on a busy disk takes long.
const REQUEST_TIMEOUT_SECONDS: u64 = 120;

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) kind: &'static str,
}

/// No engine answers.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address is not one of a local socket.
    #[error("{0:?} is no local socket; it should be like unix:///var/run/docker.sock")]
    NotLocalSocket(String),
    /// Nobody answers where an engine should.
    #[error("nobody answers at {at}")]
    Unreachable {
        /// Where it was looked for.
        at: String,
        /// What happened at the last socket.
        #[source]
        source: bollard::errors::Error,
    },
}

/// The engine at `host`, or the first that answers in the usual sockets.
///
/// # Errors
/// When none answers.
pub async fn connect(host: Option<&str>) -> Result<Engine, EngineError> {
    let sockets = match host {
        Some(host) if host.starts_with("unix://") => vec![host.to_owned()],
        Some(host) => return Err(EngineError::NotLocalSocket(host.to_owned())),
        None => default_sockets(std::env::var("XDG_RUNTIME_DIR").ok().as_deref()),
    };
    let mut last = None;
    for socket in &sockets {
        match probe(socket).await {
            Ok(engine) => {
                tracing::info!(socket, kind = engine.kind, "found an engine");
                return Ok(engine);
            }
            Err(error) => last = Some(error),
        }
    }
    let at = sockets.join(", ");
    Err(match last {
        Some(source) => EngineError::Unreachable { at, source },
        None => EngineError::NotLocalSocket(at),
    })
}

async fn probe(socket: &str) -> Result<Engine, bollard::errors::Error> {
    // Engines of many years are about: the newest version that both know is agreed upon.
    let docker =
        Docker::connect_with_unix(socket, REQUEST_TIMEOUT_SECONDS, API_DEFAULT_VERSION)?.negotiate_version().await?;
    let version = docker.version().await?;
    let podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
    Ok(Engine { docker, kind: if podman { "podman" } else { "docker" } })
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
    async fn a_missing_engine_is_named_by_its_place() {
        let error = connect(Some("unix:///nowhere/docker.sock")).await.unwrap_err();
        assert_eq!(error.to_string(), "nobody answers at unix:///nowhere/docker.sock");
        let error = connect(Some("tcp://127.0.0.1:2375")).await.unwrap_err();
        assert!(matches!(error, EngineError::NotLocalSocket(_)));
    }
}
