//! What a running `dockhost dev` leaves for the other commands: where its servers are.
//!
//! In: the data directory. Out: addresses and secrets, while it runs; so that `dockhost verify` works beside
//! `make run` without any setting.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::secrets;
use crate::app::config::{Connections, Secrets};

/// Written beside the data, removed at the end; the lock tells whether it counts.
const FILE: &str = "running.json";
/// Held while `dockhost dev` runs.
pub const LOCK: &str = "dev.lock";

/// Where the servers are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// The API.
    pub url: String,
    /// The broker.
    pub nats_url: String,
    /// The database.
    pub mongodb_uri: String,
}

impl Running {
    /// Leaves word.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut file = fs::File::create(data.join(FILE))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Reads the word that was left.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()
    }
}

/// Whether `dockhost dev` holds the data directory.
fn is_held(data: &Path) -> bool {
    fs::File::open(data.join(LOCK)).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

/// Addresses and secrets of a `dockhost dev` that runs now.
///
/// # Errors
/// If its secrets can't be read.
pub fn running(data: &Path) -> anyhow::Result<Option<(Secrets, Connections)>> {
    if !is_held(data) {
        return Ok(None);
    }
    let Some(running) = Running::read(data) else { return Ok(None) };
    let kept = secrets::Secrets::load_or_make(data).context("reading the secrets of the running `dockhost dev`")?;
    let env = kept.server_env();
    let secrets = Secrets::read(|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()));
    let connections = Connections { nats_url: running.nats_url, mongodb_uri: running.mongodb_uri };
    Ok(Some((secrets, connections)))
}
