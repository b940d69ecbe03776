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
use crate::container::{Container, State};
use crate::ports::{self, Cursor, PortRange};

/// How the simulation behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Where ports are taken from; none is bound.
    pub ports: PortRange,
    /// How long a creation, a start and a stop take, each.
    pub delay: Duration,
    /// Whether every new container is refused.
    pub refuse: bool,
}

/// Containers that exist in a file only.
#[derive(Debug)]
pub struct Simulated {
    behaviour: Behaviour,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    containers: BTreeMap<String, Kept>,
    cursor: Cursor,
    log: File,
}

/// A container, as it stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
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
    Put(Kept),
    Removed(String),
}

impl Simulated {
    /// Opens, or begins, the containers kept in `<dir>/<name>.jsonl`.
    ///
    /// # Errors
    /// When the directory can't be made, or the file not be read or written.
    pub fn open(dir: &Path, name: &str, seed: u128, behaviour: Behaviour) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.jsonl"));
        let containers = read(&path)?;
        let log = compact(&path, &containers)?;
        let cursor = Cursor::seeded(behaviour.ports, seed);
        Ok(Self { behaviour, inner: Mutex::new(Inner { containers, cursor, log }) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self) {
        if !self.behaviour.delay.is_zero() {
            tokio::time::sleep(self.behaviour.delay).await;
        }
    }

    fn change(&self, id: &str, act: impl FnOnce(&mut Kept)) -> Result<(), RuntimeError> {
        let mut inner = self.inner();
        let mut kept = inner.containers.get(id).cloned().ok_or(RuntimeError::Gone)?;
        act(&mut kept);
        inner.put(kept)
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, Kept>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut containers = BTreeMap::new();
    for change in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match change {
            Change::Put(kept) => {
                containers.insert(kept.id.clone(), kept);
            }
            Change::Removed(id) => {
                containers.remove(&id);
            }
        }
    }
    Ok(containers)
}

/// Writes the state anew beside the old file, takes its place, and stays open for what comes.
fn compact(path: &Path, containers: &BTreeMap<String, Kept>) -> io::Result<File> {
    let fresh: PathBuf = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    for kept in containers.values() {
        serde_json::to_writer(&mut file, &Change::Put(kept.clone()))?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

impl Inner {
    fn put(&mut self, kept: Kept) -> Result<(), RuntimeError> {
        self.append(&Change::Put(kept.clone()))?;
        self.containers.insert(kept.id.clone(), kept);
        Ok(())
    }

    fn append(&mut self, change: &Change) -> Result<(), RuntimeError> {
        let other = |source| RuntimeError::Other { doing: "could not write the simulated state", source };
        let mut line = serde_json::to_vec(change).map_err(|error| other(error.into()))?;
        line.push(b'\n');
        self.log.write_all(&line).map_err(|error| other(error.into()))
    }
}

impl Kept {
    fn container(&self) -> Container {
        Container {
            id: self.id.clone(),
            former_ids: vec![],
            instance: self.instance,
            user: self.user,
            placement: self.placement,
            ports: self.ports,
            state: match (self.running, self.has_run) {
                (true, _) => State::Running,
                (false, true) => State::Stopped,
                (false, false) => State::Created,
            },
            host_keys: vec![],
        }
    }
}

impl Runtime for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let inner = self.inner();
        let wanted = |kept: &&Kept| of.is_none_or(|instance| kept.instance == instance);
        Ok(inner.containers.values().filter(wanted).map(Kept::container).collect())
    }

    async fn fetch(&self, _image: Option<&str>) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn create(&self, assignment: &Assignment, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        if self.behaviour.refuse {
            return Err(RuntimeError::ToldToRefuse("this simulated backend was told to refuse".to_owned()));
        }
        self.pause().await;
        let mut inner = self.inner();
        let (instance, placement) = (assignment.instance_id, assignment.placement);
        let id = hex(&Sha256::digest(super::container_name(instance, placement)));
        if inner.containers.contains_key(&id) {
            return Err(RuntimeError::NameTaken);
        }
        let held: BTreeSet<u16> = inner.containers.values().flat_map(|kept| ports::all(kept.ports)).collect();
        let (ports, cursor) = ports::choose(self.behaviour.ports, inner.cursor, &held, |_| true)
            .ok_or(RuntimeError::NoPorts(self.behaviour.ports))?;
        inner.cursor = cursor;
        inner.put(Kept { id, instance, user: assignment.user_id, placement, ports, running: false, has_run: false })
    }

    async fn start(&self, container: &Container, _spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        self.pause().await;
        self.change(&container.id, |kept| (kept.running, kept.has_run) = (true, true))
    }

    async fn answers(&self, container: &Container) -> bool {
        self.inner().containers.get(&container.id).is_some_and(|kept| kept.running)
    }

    async fn host_keys(&self, container: &Container) -> Result<Vec<String>, RuntimeError> {
        Ok(vec![format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&container.id)))])
    }

    async fn change_ports(&self, _container: &Container, _assignment: &Assignment) -> Result<(), RuntimeError> {
        // Simulated ports are never taken by anybody else.
        Ok(())
    }

    async fn stop(&self, id: &str) -> Result<(), RuntimeError> {
        self.pause().await;
        self.change(id, |kept| kept.running = false)
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
