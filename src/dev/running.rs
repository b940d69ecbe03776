//! How other commands find a running `dockhost dev`: `dockhost verify` beside `make run` needs no configuration.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::secrets::GeneratedSecrets;
use crate::app::config::ServiceUrls;
use crate::app::secrets::Secrets;

/// The file that describes the running servers. It counts only while [`LOCK_FILE`] is locked.
const RUN_FILE: &str = "running.json";
/// The file that `dockhost dev` locks while it runs.
pub const LOCK_FILE: &str = "dev.lock";

/// A running `dockhost dev`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningDev {
    /// Its process id.
    pub pid: u32,
    /// URL of the API.
    pub url: String,
    /// URL of the broker.
    pub nats_url: String,
    /// URI of the database.
    pub mongodb_uri: String,
}

impl RunningDev {
    /// Writes the file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let mut file = fs::File::create(data.join(RUN_FILE))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Reads the file; `None` if there is no valid one.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(RUN_FILE)).ok()?).ok()
    }
}

/// Whether a `dockhost dev` is using the data directory.
fn is_locked(data: &Path) -> bool {
    fs::File::open(data.join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

/// Secrets and URLs of the `dockhost dev` that is using the data directory; `None` if there is none.
///
/// # Errors
/// The secrets can't be read.
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
