//! What a running `dockhost dev` leaves for the other commands: where its servers are.
//!
//! In: the data directory. Out: addresses and secrets, while it runs; so that `dockhost verify` works beside
//! `make run` without any setting.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::secrets::GeneratedSecrets;
use crate::app::config::ServiceUrls;
use crate::app::secrets::Secrets;

/// Written beside the data, removed at the end; the lock tells whether it counts.
const RUN_FILE: &str = "running.json";
/// Held while `dockhost dev` runs.
pub const LOCK_FILE: &str = "dev.lock";

/// Where the servers are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningDev {
    /// The process.
    pub pid: u32,
    /// The API.
    pub url: String,
    /// The broker.
    pub nats_url: String,
    /// The database.
    pub mongodb_uri: String,
}

impl RunningDev {
    /// Leaves word.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut file = fs::File::create(data.join(RUN_FILE))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Reads the word that was left.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(RUN_FILE)).ok()?).ok()
    }
}

/// Whether `dockhost dev` holds the data directory.
fn is_locked(data: &Path) -> bool {
    fs::File::open(data.join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

/// Addresses and secrets of a `dockhost dev` that runs now.
///
/// # Errors
/// If its secrets can't be read.
pub fn connection(data: &Path) -> anyhow::Result<Option<(Secrets, ServiceUrls)>> {
    if !is_locked(data) {
        return Ok(None);
    }
    let Some(running) = RunningDev::read(data) else { return Ok(None) };
    let generated =
        GeneratedSecrets::load_or_generate(data).context("reading the secrets of the running `dockhost dev`")?;
    let env = generated.server_env();
    let secrets = Secrets::read(|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()))?;
    Ok(Some((secrets, ServiceUrls { nats_url: running.nats_url, mongodb_uri: running.mongodb_uri })))
}
