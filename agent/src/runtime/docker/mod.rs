//! Docker, or Podman behind the same API.
//!
//! In: the acts of [`Runtime`]. Out: containers on a real engine. What belongs to an instance is told by labels alone,
//! and every listing is filtered by this backend's, so several agents may share an engine. Containers of all backends
//! count as holders of ports.
//!
//! An instance's owner is root in it and nobody outside: the module `create` says what it may and may not.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, StopContainerOptionsBuilder,
};
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::wire::{Assignment, ContainerSpec, Ports};

use super::{Runtime, RuntimeError, container_name};
use crate::container::{Container, State};
use crate::ports::{self, Cursor, PortRange};

mod anew;
mod create;
mod engine;
mod errors;
mod files;
mod firewall;
mod image;
mod labels;
mod network;
mod ssh;

pub use engine::{Engine, NoEngine, connect};

use errors::{other, refusal};

/// Seconds that a container has between SIGTERM and SIGKILL.
const STOP_SECONDS: i32 = 5;

/// What this backend's containers have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose containers they are.
    pub backend: BackendId,
    /// The image when an assignment names none.
    pub image: String,
    /// Where ports are taken from.
    pub ports: PortRange,
    /// Where the published ports are reached, when the loopback address doesn't lead to them.
    pub lan_ip: Option<String>,
    /// Whether instances are kept away from this machine and from private networks.
    pub firewall: bool,
}

/// A real engine.
#[derive(Debug)]
pub struct DockerRuntime {
    docker: Docker,
    kind: &'static str,
    settings: Settings,
    book: Mutex<Book>,
    fetching: tokio::sync::Mutex<()>,
}

/// Ports that are given out but not yet to be seen in a listing.
#[derive(Debug)]
struct Book {
    cursor: Cursor,
    promised: BTreeSet<u16>,
}

impl DockerRuntime {
    /// Prepares the engine: its network for instances, and what keeps them in it.
    ///
    /// # Errors
    /// When the engine refuses the network.
    pub async fn new(engine: Engine, settings: Settings) -> Result<Self, RuntimeError> {
        let bridge = network::ensure(&engine.docker).await?;
        if settings.firewall {
            match firewall::ensure(&bridge).await {
                Ok(()) => tracing::info!(bridge, "instances reach neither this machine nor private networks"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn Error,
                    "instances can reach this machine and private networks: run the agent as root on the host, with \
                     iptables, or guard the bridge yourself"
                ),
            }
        }
        let cursor = Cursor::seeded(settings.ports, settings.backend.uuid().as_u128());
        let book = Mutex::new(Book { cursor, promised: BTreeSet::new() });
        Ok(Self { docker: engine.docker, kind: engine.kind, settings, book, fetching: tokio::sync::Mutex::default() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn summaries(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.docker.list_containers(Some(options)).await.map_err(other("could not list the containers"))
    }

    /// Whether there may be files in a container that the engine calls created. One that ran and failed to start
    /// again is called so too, and one made anew from its files has not run itself.
    async fn has_run(&self, container: &Container) -> Result<bool, RuntimeError> {
        if !container.former_ids.is_empty() {
            return Ok(true);
        }
        let inspected =
            self.docker.inspect_container(&container.id, None).await.map_err(refusal("could not inspect it"))?;
        let started = inspected.state.and_then(|state| state.started_at);
        // Unknown counts as having run: nothing is removed on a guess.
        Ok(started.is_none_or(|at| !at.is_empty() && !at.starts_with("0001-01-01")))
    }

    /// Chooses free ports and promises them, until [`Self::release`].
    async fn promise_ports(&self) -> Result<Ports, RuntimeError> {
        let all = self.summaries(vec![labels::INSTANCE.to_owned()]).await?;
        let mut held: BTreeSet<u16> = all.iter().filter_map(labels::ports).flat_map(ports::all).collect();
        let mut book = self.book();
        held.extend(&book.promised);
        let (ports, cursor) = ports::choose(self.settings.ports, book.cursor, &held, ports::is_free)
            .ok_or(RuntimeError::NoPorts(self.settings.ports))?;
        book.cursor = cursor;
        book.promised.extend(ports::all(ports));
        Ok(ports)
    }

    /// Makes a container, with ports of its own.
    async fn make(
        &self,
        assignment: &Assignment,
        spec: &ContainerSpec,
        image: &str,
        former_ids: &[String],
    ) -> Result<(), RuntimeError> {
        let ports = self.promise_ports().await?;
        let backend = self.settings.backend;
        let body = create::body(&create::Blueprint { backend, assignment, spec, image, ports, former_ids });
        let name = container_name(assignment.instance_id, assignment.placement);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = self.docker.create_container(Some(options), body).await;
        self.release(ports);
        made.map(drop).map_err(errors::creation(image))
    }

    /// The ports are in a listing now, or nobody's.
    fn release(&self, ports: Ports) {
        let mut book = self.book();
        for port in ports::all(ports) {
            book.promised.remove(&port);
        }
    }
}

impl Runtime for DockerRuntime {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let mut filter = vec![format!("{}={}", labels::BACKEND, self.settings.backend)];
        filter.extend(of.map(|instance| format!("{}={instance}", labels::INSTANCE)));
        let mut containers = Vec::new();
        for summary in self.summaries(filter).await? {
            let Some(mut container) = labels::container(&summary) else {
                tracing::warn!(id = summary.id, "a container with this backend's label and unreadable others");
                continue;
            };
            if container.state == State::Created {
                match self.has_run(&container).await {
                    Ok(true) => container.state = State::Stopped,
                    Ok(false) => {}
                    Err(RuntimeError::Gone) => continue,
                    Err(error) => return Err(error),
                }
            }
            containers.push(container);
        }
        anew::forget_replaced(&mut containers);
        Ok(containers)
    }

    async fn fetch(&self, image: Option<&str>) -> Result<(), RuntimeError> {
        // One at a time: all creations of a fresh machine want the same one.
        let _turn = self.fetching.lock().await;
        image::fetch(&self.docker, image.unwrap_or(&self.settings.image)).await
    }

    async fn create(&self, assignment: &Assignment, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let image = spec.image.as_deref().unwrap_or(&self.settings.image);
        self.make(assignment, spec, image, &[]).await
    }

    async fn start(&self, container: &Container, spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        if container.state == State::Created
            && let Some(spec) = spec
        {
            files::authorize(&self.docker, &container.id, &spec.ssh_public_key).await?;
        }
        self.docker.start_container(&container.id, None).await.map_err(refusal("could not start the container"))
    }

    async fn answers(&self, container: &Container) -> bool {
        ssh::greets(container.ports.ssh, self.settings.lan_ip.as_deref()).await
    }

    async fn host_keys(&self, container: &Container) -> Result<Vec<String>, RuntimeError> {
        files::host_keys(&self.docker, &container.id).await
    }

    async fn change_ports(&self, container: &Container, assignment: &Assignment) -> Result<(), RuntimeError> {
        self.make_anew(container, assignment).await
    }

    async fn stop(&self, id: &str) -> Result<(), RuntimeError> {
        let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
        self.docker.stop_container(id, Some(options)).await.map_err(refusal("could not stop the container"))
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.remove_with_traces(id).await
    }
}
