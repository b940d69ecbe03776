//! Which runtime the embedded agents get: Docker if an engine answers and has an image, else simulated.
//!
//! In: what was asked for. Out: a decision, and the sentence that says why. The image that users get is built from
//! `images/instance` when the engine has none yet.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use tokio::process::Command;

const IMAGE: &str = "dockhost/instance:latest";
const DOCKERFILE: &str = include_str!("../../images/instance/Dockerfile");
const ENTRYPOINT: &str = include_str!("../../images/instance/entrypoint.sh");
const SSHD_CONFIG: &str = include_str!("../../images/instance/sshd_config");
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

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

/// Decides. `image` is the one that was asked for, if any.
///
/// # Errors
/// If Docker was asked for and can't be had.
pub async fn decide(wish: Option<Runtime>, image: Option<&str>, data: &Path) -> anyhow::Result<Decision> {
    if wish == Some(Runtime::Simulated) {
        return Ok(Decision { runtime: Runtime::Simulated, why: "asked for".to_owned() });
    }
    match docker(image, data).await {
        Ok(()) => Ok(Decision { runtime: Runtime::Docker, why: "an engine answers".to_owned() }),
        Err(why) if wish == Some(Runtime::Docker) => anyhow::bail!("Docker was asked for, but {why}"),
        Err(why) => Ok(Decision { runtime: Runtime::Simulated, why }),
    }
}

async fn docker(image: Option<&str>, data: &Path) -> Result<(), String> {
    if !succeeds(&["version"], ANSWERS_WITHIN).await {
        return Err("no Docker engine answers (`docker version`)".to_owned());
    }
    let wanted = image.unwrap_or(IMAGE);
    if succeeds(&["image", "inspect", wanted], ANSWERS_WITHIN).await {
        return Ok(());
    }
    if image.is_some() {
        return Err(format!("the engine has no image {wanted}"));
    }
    eprintln!("building the image {IMAGE}; this happens once …");
    let context = write_context(data).map_err(|error| format!("the image can't be built: {error}"))?;
    let context = context.to_string_lossy();
    if succeeds(&["build", "-q", "-t", IMAGE, &context], BUILDS_WITHIN).await {
        Ok(())
    } else {
        Err(format!("the image can't be built here (`docker build {context}` says why)"))
    }
}

fn write_context(data: &Path) -> std::io::Result<PathBuf> {
    let context = data.join("image");
    std::fs::create_dir_all(&context)?;
    for (name, text) in [("Dockerfile", DOCKERFILE), ("entrypoint.sh", ENTRYPOINT), ("sshd_config", SSHD_CONFIG)] {
        std::fs::write(context.join(name), text)?;
    }
    Ok(context)
}

async fn succeeds(args: &[&str], within: Duration) -> bool {
    let mut docker = Command::new("docker");
    docker.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    matches!(tokio::time::timeout(within, docker.status()).await, Ok(Ok(status)) if status.success())
}
