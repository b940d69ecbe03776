//! What happens to simulated containers behind the agent's back, for tests.
//!
//! A file in the directory `ends` makes the container of one instance end: its name is the instance's id, and its content
//! is a [`ContainerEnd`] in JSON, or `"removed"`, which removes the container with its files. A file named `engine`
//! restarts the engine: every container ends, and so do the engine's events. The agent removes each file when it has done
//! what it says.

use std::fs;
use std::time::Duration;

use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::ContainerId;
use dockhost_domain::wire::ContainerEnd;
use serde::Deserialize;

use super::SimulatedRuntime;
use crate::runtime::{Runtime as _, RuntimeError};

/// Interval at which the directory is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The exit code of a container whose engine was restarted: it is killed.
const RESTARTED: ContainerEnd = ContainerEnd::Killed { signal: 9 };

/// What happens to a container.
#[derive(Deserialize)]
#[serde(untagged)]
enum Accident {
    End(ContainerEnd),
    Removed(Removed),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Removed {
    Removed,
}

impl SimulatedRuntime {
    /// Makes containers end until the engine is to restart.
    pub(super) async fn cause_accidents(
        &self,
        changed: &(dyn Fn(InstanceId) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            // The directory exists only in tests.
            for file in fs::read_dir(self.dir.join("ends")).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if name == "engine" {
                    self.end_all()?;
                    // It would be there again after the restart.
                    return fs::remove_file(file.path()).map_err(|error| could_not(error.into()));
                }
                let content = fs::read(file.path()).unwrap_or_default();
                let (Ok(instance), Ok(accident)) = (name.parse::<InstanceId>(), serde_json::from_slice(&content))
                else {
                    // It is still being written.
                    continue;
                };
                fs::remove_file(file.path()).map_err(|error| could_not(error.into()))?;
                for id in self.running(Some(instance)) {
                    match &accident {
                        Accident::End(end) => self.end_container(&id, *end)?,
                        Accident::Removed(Removed::Removed) => self.remove(&id).await?,
                    }
                }
                changed(instance);
            }
        }
    }

    fn end_all(&self) -> Result<(), RuntimeError> {
        self.running(None).iter().try_for_each(|id| self.end_container(id, RESTARTED))
    }

    fn end_container(&self, id: &ContainerId, end: ContainerEnd) -> Result<(), RuntimeError> {
        self.change(id, |container| (container.running, container.ended) = (false, Some(end)))
    }

    /// The running containers of an instance, or of all.
    fn running(&self, of: Option<InstanceId>) -> Vec<ContainerId> {
        let inner = self.inner();
        let matches = |instance| of.is_none_or(|id| id == instance);
        let running = inner.containers.values().filter(|one| one.running && matches(one.instance));
        running.map(|container| container.id.clone()).collect()
    }
}

fn could_not(source: anyhow::Error) -> RuntimeError {
    RuntimeError::Other { action: "could not remove a file of the simulation", source }
}
