//! Finding the engine.
//!
//! In: the socket that was named, or none. Out: a client that speaks a version of the API which the engine knows too,
//! and whether it is Docker or Podman. Only local sockets: the agent probes ports and greets SSH servers on the
//! engine's own machine.

use bollard::{API_DEFAULT_VERSION, Docker};

/// Seconds that the engine may take to answer; creating on a busy disk takes long.
const TIMEOUT: u64 = 120;

/// An engine that answers.
#[derive(Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) kind: &'static str,
}

/// No engine answers.
#[derive(Debug, thiserror::Error)]
pub enum NoEngine {
    /// The address is not one of a local socket.
    #[error("{0:?} is no local socket; it should be like unix:///var/run/docker.sock")]
    NotLocal(String),
    /// Nobody answers where an engine should.
    #[error("nobody answers at {at}")]
    Silent {
        /// Where it was looked for.
        at: String,
        /// What happened at the last place.
        #[source]
        source: bollard::errors::Error,
    },
}

/// The engine at `host`, or the first that answers in the usual places.
///
/// # Errors
/// When none answers.
pub async fn connect(host: Option<&str>) -> Result<Engine, NoEngine> {
    let places = match host {
        Some(host) if host.starts_with("unix://") => vec![host.to_owned()],
        Some(host) => return Err(NoEngine::NotLocal(host.to_owned())),
        None => usual_places(std::env::var("XDG_RUNTIME_DIR").ok().as_deref()),
    };
    let mut last = None;
    for place in &places {
        match answer(place).await {
            Ok(engine) => {
                tracing::info!(place, kind = engine.kind, "found an engine");
                return Ok(engine);
            }
            Err(error) => last = Some(error),
        }
    }
    let at = places.join(", ");
    Err(match last {
        Some(source) => NoEngine::Silent { at, source },
        None => NoEngine::NotLocal(at),
    })
}

async fn answer(place: &str) -> Result<Engine, bollard::errors::Error> {
    // Engines of many years are about: the newest version that both know is agreed upon.
    let docker = Docker::connect_with_unix(place, TIMEOUT, API_DEFAULT_VERSION)?.negotiate_version().await?;
    let version = docker.version().await?;
    let podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
    Ok(Engine { docker, kind: if podman { "podman" } else { "docker" } })
}

fn usual_places(runtime_dir: Option<&str>) -> Vec<String> {
    let mut places = vec!["unix:///var/run/docker.sock".to_owned()];
    if let Some(dir) = runtime_dir {
        places.push(format!("unix://{dir}/docker.sock"));
        places.push(format!("unix://{dir}/podman/podman.sock"));
    }
    places.push("unix:///run/podman/podman.sock".to_owned());
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_engine_is_named_by_its_place() {
        let error = connect(Some("unix:///nowhere/docker.sock")).await.unwrap_err();
        assert_eq!(error.to_string(), "nobody answers at unix:///nowhere/docker.sock");
        let error = connect(Some("tcp://127.0.0.1:2375")).await.unwrap_err();
        assert!(matches!(error, NoEngine::NotLocal(_)));
    }
}
