//! A runtime without containers, for demos, load tests and machines without Docker.
//!
//! Containers are lines in a file: changes as JSON, one per line, appended by each operation and compacted at start, so
//! that the cost of an operation does not depend on the number of instances. A restarted agent finds its containers as it
//! would with Docker. An incomplete last line, which a crash can leave, is ignored.
//!
//! A test makes containers end by files in the directory `ends`, see [`accidents`]. Somebody is connected to an instance while there is
//! a file with its id as its name in the directory `connected`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::reported::{ContainerId, HostKeys, Invalid};
use dockhost_domain::wire::{Assignment, ContainerEnd, ContainerSpec, Limits, Ports};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{FetchProgress, Runtime, RuntimeError};
use crate::container::{Container, ContainerState};
use crate::ports::{self, Cursor, PortRange};

mod accidents;

/// Options of the simulation.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// The ports to allocate from; none is bound.
    pub ports: PortRange,
    /// Duration of each create, start and stop.
    pub delay: Duration,
    /// Whether the image is gone at each creation, though it can be had, so that no container can be created.
    pub image_missing: bool,
}

/// Containers that exist in a file only.
#[derive(Debug)]
pub struct SimulatedRuntime {
    options: SimulationOptions,
    dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    containers: BTreeMap<ContainerId, SimulatedContainer>,
    cursor: Cursor,
    log: File,
    /// Locked until this process ends.
    _lock: File,
}

/// A container as stored in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimulatedContainer {
    id: ContainerId,
    instance: InstanceId,
    user: UserId,
    placement: u32,
    ports: Ports,
    running: bool,
    has_run: bool,
    /// How it ended, unless it was stopped on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<ContainerEnd>,
    /// Absent in files of earlier releases.
    #[serde(default)]
    limits: Option<Limits>,
    /// The keys that may log in, and their version.
    #[serde(default)]
    keys: (u32, Vec<String>),
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    Put(SimulatedContainer),
    Removed(ContainerId),
}

impl SimulatedRuntime {
    /// Opens or creates the file `<dir>/<name>.jsonl`, which only this user can read. `seed` selects the first port.
    ///
    /// # Errors
    /// If the directory can't be created, the file can't be read or written, or another process has opened it.
    pub fn open(dir: &Path, name: &str, seed: u128, options: SimulationOptions) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = lock(&dir.join(format!("{name}.lock")))?;
        let path = dir.join(format!("{name}.jsonl"));
        let containers = read(&path)?;
        let log = compact(&path, &containers)?;
        let cursor = Cursor::seeded(options.ports, seed);
        Ok(Self { options, dir: dir.to_owned(), inner: Mutex::new(Inner { containers, cursor, log, _lock: lock }) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delay(&self) {
        if !self.options.delay.is_zero() {
            tokio::time::sleep(self.options.delay).await;
        }
    }

    fn change(&self, id: &ContainerId, change: impl FnOnce(&mut SimulatedContainer)) -> Result<(), RuntimeError> {
        let mut inner = self.inner();
        let mut container = inner.containers.get(id).cloned().ok_or(RuntimeError::NotFound)?;
        change(&mut container);
        inner.put(container)
    }
}

/// Locks a file until it is closed: two processes that append to one journal would lose each other's containers.
fn lock(path: &Path) -> io::Result<File> {
    let file = private().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another agent uses this directory")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Creates files that only this user can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn read(path: &Path) -> io::Result<BTreeMap<ContainerId, SimulatedContainer>> {
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

/// Writes the containers to a new file, renames it over the old one and opens it for appending.
fn compact(path: &Path, containers: &BTreeMap<ContainerId, SimulatedContainer>) -> io::Result<File> {
    let new_file: PathBuf = path.with_extension("new");
    let mut file = private().create(true).truncate(true).write(true).open(&new_file)?;
    // A file that a crash left may have other permissions.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    for container in containers.values() {
        serde_json::to_writer(&mut file, &Change::Put(container.clone()))?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    fs::rename(&new_file, path)?;
    OpenOptions::new().append(true).open(path)
}

impl Inner {
    fn put(&mut self, container: SimulatedContainer) -> Result<(), RuntimeError> {
        self.append(&Change::Put(container.clone()))?;
        self.containers.insert(container.id.clone(), container);
        Ok(())
    }

    fn append(&mut self, change: &Change) -> Result<(), RuntimeError> {
        let other = |source| RuntimeError::Other { action: "could not write the simulation's file", source };
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
            host_keys: HostKeys::default(),
            limits: self.limits,
            keys_version: None,
        }
    }
}

impl Runtime for SimulatedRuntime {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let inner = self.inner();
        let matches = |container: &&SimulatedContainer| of.is_none_or(|instance| container.instance == instance);
        Ok(inner.containers.values().filter(matches).map(SimulatedContainer::container).collect())
    }

    async fn ensure_image(
        &self,
        _image: Option<&str>,
        _progress: &(dyn Fn(FetchProgress) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn create(&self, assignment: &Assignment, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        if self.options.image_missing {
            return Err(RuntimeError::ImageMissing(spec.image.clone().unwrap_or_else(|| "simulated".to_owned())));
        }
        self.delay().await;
        let mut inner = self.inner();
        let (instance, placement) = (assignment.instance_id, assignment.placement);
        let id = container_id(instance, placement)?;
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
            ended: None,
            limits: Some(spec.limits),
            keys: (0, Vec::new()),
        })
    }

    async fn start(&self, container: &Container, spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        self.delay().await;
        self.change(&container.id, |container| {
            if let (false, Some(spec)) = (container.has_run, spec) {
                container.keys = owned(spec.keys());
            }
            (container.running, container.has_run, container.ended) = (true, true, None);
        })
    }

    async fn authorize(&self, container: &Container, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.change(&container.id, |container| {
            if container.keys.0 < spec.keys().0 {
                container.keys = owned(spec.keys());
            }
        })
    }

    async fn is_ssh_ready(&self, container: &Container) -> bool {
        self.inner().containers.get(&container.id).is_some_and(|container| container.running)
    }

    async fn ssh_connections(&self) -> Result<BTreeMap<InstanceId, bool>, RuntimeError> {
        let running = self.list(None).await?.into_iter().filter(|container| container.state == ContainerState::Running);
        let is_connected = |instance: InstanceId| self.dir.join("connected").join(instance.to_string()).exists();
        Ok(running.map(|container| (container.instance, is_connected(container.instance))).collect())
    }

    async fn host_keys(&self, container: &Container) -> Result<HostKeys, RuntimeError> {
        let key = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(container.id.as_str())));
        Ok(HostKeys::of([key.as_str()]))
    }

    async fn recreate_with_new_ports(
        &self,
        _container: &Container,
        _assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        // Unreachable: simulated ports are never in use by another process.
        Ok(())
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.delay().await;
        self.change(id, |container| container.running = false)
    }

    async fn end(&self, id: &ContainerId) -> Result<ContainerEnd, RuntimeError> {
        let inner = self.inner();
        let container = inner.containers.get(id).ok_or(RuntimeError::NotFound)?;
        Ok(container.ended.unwrap_or(ContainerEnd::Exited { exit_code: 0 }))
    }

    async fn engine_time(&self) -> Result<i64, RuntimeError> {
        Ok(0)
    }

    async fn watch(&self, _since: i64, changed: &(dyn Fn(InstanceId) + Send + Sync)) -> Result<(), RuntimeError> {
        self.cause_accidents(changed).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let mut inner = self.inner();
        inner.append(&Change::Removed(id.clone()))?;
        inner.containers.remove(id);
        Ok(())
    }
}

fn owned((version, keys): (u32, &[String])) -> (u32, Vec<String>) {
    (version, keys.to_vec())
}

/// An id as an engine makes it: 64 hex digits.
fn container_id(instance: InstanceId, placement: u32) -> Result<ContainerId, RuntimeError> {
    let digest = Sha256::digest(super::container_name(instance, placement));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse()
        .map_err(|error: Invalid| RuntimeError::Other { action: "could not name a container", source: error.into() })
}

#[cfg(test)]
mod tests;
