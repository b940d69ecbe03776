//! `--list-containers` and `--remove-containers`: what a backend's agent has left in the container engine.

use anyhow::Context as _;

use crate::config::Config;
use crate::runtime::docker;

/// Prints the backend's containers, one per line, and removes them if `remove`.
///
/// # Errors
/// If no engine answers, or it can't list or remove them.
pub async fn run(config: &Config, remove: bool) -> anyhow::Result<()> {
    let backend = config.api_key.parse()?.backend();
    let engine = docker::connect(config.docker_host.as_deref().filter(|host| !host.is_empty())).await;
    let engine = engine.context("no usable container engine")?;
    for container in docker::containers_of(&engine, backend).await? {
        if remove {
            docker::remove_container(&engine, &container).await.with_context(|| format!("removing {container}"))?;
        }
        println!("{container}");
    }
    Ok(())
}
