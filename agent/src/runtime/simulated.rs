//! A runtime without containers: the same decisions for demos, load tests and machines without Docker.
//!
//! In: the acts of [`Runtime`]. Out: containers that are lines in a file. The file is a list of changes, one JSON
//! value per line, appended with each act and compacted at start, so that ten thousand instances cost no more per act
//! than one. An agent that restarts finds its containers as it would find Docker's; a torn last line, the most a crash
//! leaves, is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::wire::{Assignment, ContainerSpec, Ports};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Runtime, RuntimeError};
use crate::container::{Container, ContainerState};
use crate::ports::{self, Cursor, PortRange};

/// How the simulation behaves.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// Where ports are taken from; none is bound.
    pub ports: PortRange,
    /// How long a creation, a start and a stop take, each.
    pub delay: Duration,
    /// Whether every new container is refused.
    pub refuse: bool,
}

/// Containers that exist in a file only.
#[derive(Debug)]
pub struct SimulatedRuntime {
    options: SimulationOptions,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    containers: BTreeMap<String, SimulatedContainer>,
    cursor: Cursor,
    log: File,
}

/// A container, as it stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedContainer {
    id: String,
    instance: InstanceId,
    user: UserId,
    placement: u32,
    ports: Ports,
    running: bool,
    has_run: bool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    Put(SimulatedContainer),
    Removed(String),
}

impl SimulatedRuntime {
    /// Opens, or begins, the containers container in `<dir>/<name>.jsonl`.
    ///
    /// # Errors
    /// When the directory can't be made, or the file not be read or written.
    pub fn open(dir: &Path, name: &str, seed: u128, options: SimulationOptions) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.jsonl"));
        let containers = read(&path)?;
        let log = compact(&path, &containers)?;
        let cursor = Cursor::seeded(options.ports, seed);
        Ok(Self { options, inner: Mutex::new(Inner { containers, cursor, log }) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delay(&self) {
        if !self.options.delay.is_zero() {
            tokio::time::sleep(self.options.delay).await;
        }
    }

    fn change(&self, id: &str, act: impl FnOnce(&mut SimulatedContainer)) -> Result<(), RuntimeError> {
        let mut inner = self.inner();
        let mut container = inner.containers.get(id).cloned().ok_or(RuntimeError::NotFound)?;
        act(&mut container);
        inner.put(container)
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, SimulatedContainer>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut containers = BTreeMap::new();
    for change in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match change {
            Change::Put(container) => {
                containers.insert(container.id.clone(), container);
            }
            Change::Removed(id) => {
                containers.remove(&id);
            }
        }
    }
    Ok(containers)
}

/// Writes the state anew beside the old file, takes its place, and stays open for what comes.
fn compact(path: &Path, containers: &BTreeMap<String, SimulatedContainer>) -> io::Result<File> {
    let fresh: PathBuf = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    for container in containers.values() {
        serde_json::to_writer(&mut file, &Change::Put(container.clone()))?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

impl Inner {
    fn put(&mut self, container: SimulatedContainer) -> Result<(), RuntimeError> {
        self.append(&Change::Put(container.clone()))?;
        self.containers.insert(container.id.clone(), container);
        Ok(())
    }

    fn append(&mut self, change: &Change) -> Result<(), RuntimeError> {
        let other = |source| RuntimeError::Other { action: "could not write the simulated state", source };
        let mut line = serde_json::to_vec(change).map_err(|error| other(error.into()))?;
        line.push(b'\n');
        self.log.write_all(&line).map_err(|error| other(error.into()))
    }
}

impl SimulatedContainer {
    fn container(&self) -> Container {
        Container {
            id: self.id.clone(),
            former_ids: vec![],
            instance: self.instance,
            user: self.user,
            placement: self.placement,
            ports: self.ports,
            state: match (self.running, self.has_run) {
                (true, _) => ContainerState::Running,
                (false, true) => ContainerState::Stopped,
                (false, false) => ContainerState::Created,
            },
            host_keys: vec![],
        }
    }
}

impl Runtime for SimulatedRuntime {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let inner = self.inner();
        let wanted = |container: &&SimulatedContainer| of.is_none_or(|instance| container.instance == instance);
        Ok(inner.containers.values().filter(wanted).map(SimulatedContainer::container).collect())
    }

    async fn ensure_image(&self, _image: Option<&str>) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn create(&self, assignment: &Assignment, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        if self.options.refuse {
            return Err(RuntimeError::Refused("this simulated backend was told to refuse".to_owned()));
        }
        self.delay().await;
        let mut inner = self.inner();
        let (instance, placement) = (assignment.instance_id, assignment.placement);
        let id = hex(&Sha256::digest(super::container_name(instance, placement)));
        if inner.containers.contains_key(&id) {
            return Err(RuntimeError::AlreadyExists);
        }
        let used: BTreeSet<u16> =
            inner.containers.values().flat_map(|container| ports::numbers(container.ports)).collect();
        let (ports, cursor) = ports::allocate(self.options.ports, inner.cursor, &used, |_| true)
            .ok_or(RuntimeError::NoPorts(self.options.ports))?;
        inner.cursor = cursor;
        inner.put(SimulatedContainer {
            id,
            instance,
            user: assignment.user_id,
            placement,
            ports,
            running: false,
            has_run: false,
        })
    }

    async fn start(&self, container: &Container, _spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        self.delay().await;
        self.change(&container.id, |container| (container.running, container.has_run) = (true, true))
    }

    async fn is_ssh_ready(&self, container: &Container) -> bool {
        self.inner().containers.get(&container.id).is_some_and(|container| container.running)
    }

    async fn host_keys(&self, container: &Container) -> Result<Vec<String>, RuntimeError> {
        Ok(vec![format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&container.id)))])
    }

    async fn recreate_with_new_ports(
        &self,
        _container: &Container,
        _assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        // SimulatedRuntime ports are never taken by anybody else.
        Ok(())
    }

    async fn stop(&self, id: &str) -> Result<(), RuntimeError> {
        self.delay().await;
        self.change(id, |container| container.running = false)
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let mut inner = self.inner();
        inner.append(&Change::Removed(id.to_owned()))?;
        inner.containers.remove(id);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
