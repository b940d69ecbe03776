//! The containers that the embedded agents have left in the container engine. Only an agent talks to the engine, so this
//! starts the agent's program for each one that ran in the data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

use super::agents::{AGENTS_DIR, API_KEY_FILE, agent_program};

/// The keys of the agents that ran with this data directory.
fn keys(data: &Path) -> anyhow::Result<Vec<String>> {
    let Ok(homes) = std::fs::read_dir(data.join(AGENTS_DIR)) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> =
        homes.map(|home| Ok(home?.path().join(API_KEY_FILE))).collect::<std::io::Result<_>>()?;
    files.sort();
    let read = |file: PathBuf| std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()));
    files.into_iter().filter(|file| file.exists()).map(read).collect()
}

/// One line for each container of the data directory's agents.
///
/// # Errors
/// If the engine does not answer.
pub async fn list(data: &Path) -> anyhow::Result<Vec<String>> {
    for_each_agent(data, "--list-containers").await
}

/// Removes these containers; returns one line for each.
///
/// # Errors
/// If the engine does not answer, or refuses.
pub async fn remove(data: &Path) -> anyhow::Result<Vec<String>> {
    for_each_agent(data, "--remove-containers").await
}

async fn for_each_agent(data: &Path, flag: &str) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for key in keys(data)? {
        let mut command = Command::new(agent_program());
        let output = command.arg(flag).env("DOCKHOST_API_KEY", key).kill_on_drop(true).output().await;
        let output = output.context("starting the agent's program")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        lines.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    Ok(lines)
}
