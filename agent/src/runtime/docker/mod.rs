//! The runtime for Docker, and for Podman through the same API.
//!
//! Labels identify an instance's containers, and every list is filtered by this backend's label, so several agents can
//! share an engine. Ports of all backends' containers count as used. `container_spec` limits what a container may do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, StopContainerOptionsBuilder,
};
use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::reported::{ContainerId, HostKeys};
use dockhost_domain::wire::{Assignment, ContainerEnd, ContainerSpec, IsolationState, Ports};

use super::{FetchProgress, Runtime, RuntimeError, container_name};
use crate::container::{Container, ContainerState};
use crate::ports::{self, Cursor, PortRange};

mod connections;
mod container_spec;
mod engine;
mod errors;
mod events;
mod files;
mod firewall;
mod image;
mod isolation;
mod keys_dir;
mod labels;
mod network;
mod recreate;
mod removal;
mod rules;
mod ssh;

pub use engine::{Engine, EngineError, connect};
pub use removal::{ListedContainer, containers_of, remove_container};

use errors::{container_error, other_error};
use keys_dir::KeysDirs;

/// Seconds between SIGTERM and SIGKILL when a container is stopped.
const STOP_GRACE_SECONDS: i32 = 5;

/// Options for all containers of this backend.
#[derive(Debug, Clone)]
pub struct DockerOptions {
    /// The backend that owns the containers.
    pub backend: BackendId,
    /// The image if an assignment names none.
    pub image: String,
    /// The host ports to allocate from.
    pub ports: PortRange,
    /// Address at which users reach the published ports. If it is an address of this machine, they are published on no
    /// other one.
    pub lan_ip: Option<String>,
    /// Whether to block connections from instances to this machine and to private networks.
    pub firewall: bool,
    /// Directory for the keys that may log in, one directory in it for each container.
    pub keys: PathBuf,
}

/// Runs containers on an engine.
#[derive(Debug)]
pub struct DockerRuntime {
    docker: Docker,
    engine: Engine,
    options: DockerOptions,
    publish_on: Option<IpAddr>,
    reservations: Mutex<PortReservations>,
    isolation: isolation::Isolation,
    keys_dirs: KeysDirs,
}

/// Ports allocated to containers that the engine does not list yet.
#[derive(Debug)]
struct PortReservations {
    cursor: Cursor,
    reserved: BTreeSet<u16>,
}

impl DockerRuntime {
    /// Prepares the engine: creates the instances' network and its firewall rules.
    ///
    /// # Errors
    /// If the engine can't create the network. A failing firewall is only logged.
    pub async fn new(engine: Engine, options: DockerOptions) -> Result<Self, RuntimeError> {
        network::ensure(&engine).await?;
        let cursor = Cursor::seeded(options.ports, options.backend.uuid().as_u128());
        let reservations = Mutex::new(PortReservations { cursor, reserved: BTreeSet::new() });
        let publish_on = options.lan_ip.as_deref().and_then(own_address);
        match publish_on {
            Some(address) => tracing::info!(%address, "publishing the instances' ports on this address only"),
            None => tracing::info!(
                lan_ip = options.lan_ip,
                "publishing the instances' ports on every address of this machine, because LAN_IP is none of them"
            ),
        }
        let docker = engine.docker.clone();
        let isolation = isolation::Isolation::default();
        let keys_dirs = KeysDirs::new(options.keys.clone(), engine.can_read_mounts().await?);
        let runtime = Self { docker, engine, options, publish_on, reservations, isolation, keys_dirs };
        runtime.enforce_isolation().await;
        Ok(runtime)
    }

    fn reservations(&self) -> MutexGuard<'_, PortReservations> {
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list_by_label(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.docker.list_containers(Some(options)).await.map_err(other_error("could not list the containers"))
    }

    /// Whether a container in the engine's state `created` may contain files of its user. The engine uses that state also
    /// for a container that ran and failed to start again, and for one that was recreated from its files.
    async fn has_run(&self, container: &Container) -> Result<bool, RuntimeError> {
        if !container.former_ids.is_empty() {
            return Ok(true);
        }
        let inspected = self
            .docker
            .inspect_container(&container.id, None)
            .await
            .map_err(container_error("could not inspect the container"))?;
        let started = inspected.state.and_then(|state| state.started_at);
        // An unknown start time counts as having run, so that no files are lost.
        Ok(started.is_none_or(|at| !at.is_empty() && !at.starts_with("0001-01-01")))
    }

    /// Allocates free ports and reserves them until [`Self::release_ports`].
    async fn reserve_ports(&self) -> Result<Ports, RuntimeError> {
        let all = self.list_by_label(vec![labels::INSTANCE.to_owned()]).await?;
        let mut used: BTreeSet<u16> = all.iter().filter_map(labels::ports).flat_map(ports::numbers).collect();
        let mut reservations = self.reservations();
        used.extend(&reservations.reserved);
        let (ports, cursor) = ports::allocate(self.options.ports, reservations.cursor, &used, ports::is_free)
            .ok_or(RuntimeError::NoPorts(self.options.ports))?;
        reservations.cursor = cursor;
        reservations.reserved.extend(ports::numbers(ports));
        Ok(ports)
    }

    /// The directory from which a container reads the keys that may log in; `None` if they are uploaded.
    async fn keys_dir_of(&self, id: &str) -> Result<Option<PathBuf>, RuntimeError> {
        let inspected = self.docker.inspect_container(id, None).await;
        let inspected = inspected.map_err(container_error("could not inspect the container"))?;
        Ok(labels::keys_dir(inspected.config.and_then(|config| config.labels).as_ref()))
    }

    /// Creates a container with newly allocated ports.
    async fn create_container_from(
        &self,
        assignment: &Assignment,
        spec: &ContainerSpec,
        image: &str,
        keys_dir: Option<&Path>,
        former_ids: &[String],
    ) -> Result<(), RuntimeError> {
        network::ensure(&self.engine).await?;
        let ports = self.reserve_ports().await?;
        let backend = self.options.backend;
        let body = container_spec::body(&container_spec::ContainerRequest {
            backend,
            assignment,
            spec,
            image,
            ports,
            publish_on: self.publish_on,
            keys_dir,
            former_ids,
        });
        let name = container_name(assignment.instance_id, assignment.placement);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = self.docker.create_container(Some(options), body).await;
        self.release_ports(ports);
        made.map(drop).map_err(errors::create_error(image))
    }

    /// Ends the reservation: the engine now lists the ports, or the creation failed.
    fn release_ports(&self, ports: Ports) {
        let mut reservations = self.reservations();
        for port in ports::numbers(ports) {
            reservations.reserved.remove(&port);
        }
    }
}

impl Runtime for DockerRuntime {
    fn kind(&self) -> &'static str {
        self.engine.kind
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let mut filter = vec![format!("{}={}", labels::BACKEND, self.options.backend)];
        filter.extend(of.map(|instance| format!("{}={instance}", labels::INSTANCE)));
        let mut containers = Vec::new();
        for summary in self.list_by_label(filter).await? {
            let Some(mut container) = labels::container(&summary) else {
                tracing::warn!(
                    id = summary.id,
                    "ignoring a container with this backend's label and other labels that can't be parsed"
                );
                continue;
            };
            if container.state == ContainerState::Created {
                match self.has_run(&container).await {
                    Ok(true) => container.state = ContainerState::Stopped,
                    Ok(false) => {}
                    Err(RuntimeError::NotFound) => continue,
                    Err(error) => return Err(error),
                }
            }
            containers.push(container);
        }
        recreate::drop_replaced(&mut containers);
        Ok(containers)
    }

    async fn ensure_image(
        &self,
        image: Option<&str>,
        progress: &(dyn Fn(FetchProgress) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        image::ensure(&self.docker, image.unwrap_or(&self.options.image), progress).await
    }

    async fn enforce_isolation(&self) -> Option<IsolationState> {
        if self.options.firewall { Some(self.isolation.enforce(&self.engine).await) } else { None }
    }

    async fn remove_leftovers(&self) -> Result<(), RuntimeError> {
        self.remove_images_without_instance().await?;
        self.remove_unused_keys().await
    }

    async fn create(&self, assignment: &Assignment, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let image = image::with_tag(spec.image.as_deref().unwrap_or(&self.options.image));
        let keys_dir = if image::reads_keys_dir(&self.docker, &image).await {
            let name = container_name(assignment.instance_id, assignment.placement);
            self.keys_dirs.prepare(&name, spec.keys()).await
        } else {
            None
        };
        let made = self.create_container_from(assignment, spec, &image, keys_dir.as_deref(), &[]).await;
        match (made, keys_dir) {
            (Err(error), Some(dir)) if self.keys_dirs.is_missing_for_engine(&dir, &error).await => {
                self.create_container_from(assignment, spec, &image, None, &[]).await
            }
            (made, _) => made,
        }
    }

    async fn start(&self, container: &Container, spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        if let Some(spec) = spec {
            match self.keys_dir_of(&container.id).await? {
                // Also later, because it does not start without its directory.
                Some(dir) => keys_dir::write(&dir, spec.keys()).await?,
                None if container.state == ContainerState::Created => {
                    files::upload_authorized_keys(&self.docker, &container.id, spec.keys()).await?;
                }
                None => {}
            }
        }
        let start = async || {
            let started = self.docker.start_container(&container.id, None).await;
            started.map_err(container_error("could not start the container"))
        };
        match start().await {
            Err(RuntimeError::NetworkMissing(message)) => {
                tracing::warn!(
                    container = %container.id,
                    message,
                    "connecting the container to the instances' new network"
                );
                network::ensure(&self.engine).await?;
                network::reconnect(&self.docker, &container.id).await?;
                start().await?;
            }
            started => started?,
        }
        if self.engine.is_podman() {
            // Podman makes rules of its own when a container starts, and may put them before these.
            self.enforce_isolation().await;
        }
        Ok(())
    }

    async fn authorize(&self, container: &Container, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        if let Some(dir) = self.keys_dir_of(&container.id).await? {
            return keys_dir::write(&dir, spec.keys()).await;
        }
        let (version, keys) = spec.keys();
        if files::keys_version(&self.docker, &container.id).await? < version {
            files::upload_authorized_keys(&self.docker, &container.id, (version, keys)).await?;
        }
        Ok(())
    }

    async fn is_ssh_ready(&self, container: &Container) -> bool {
        ssh::is_ready(container.ports.ssh, self.options.lan_ip.as_deref()).await
    }

    async fn ssh_connections(&self) -> Result<BTreeMap<InstanceId, bool>, RuntimeError> {
        self.count_ssh_connections().await
    }

    async fn host_keys(&self, container: &Container) -> Result<HostKeys, RuntimeError> {
        files::host_keys(&self.docker, &container.id).await
    }

    async fn recreate_with_new_ports(
        &self,
        container: &Container,
        assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        self.recreate(container, assignment).await
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let options = StopContainerOptionsBuilder::default().t(STOP_GRACE_SECONDS).build();
        self.docker.stop_container(id, Some(options)).await.map_err(container_error("could not stop the container"))
    }

    async fn end(&self, id: &ContainerId) -> Result<ContainerEnd, RuntimeError> {
        self.inspect_end(id).await
    }

    async fn engine_time(&self) -> Result<i64, RuntimeError> {
        self.ask_time().await
    }

    async fn watch(&self, since: i64, changed: &(dyn Fn(InstanceId) + Send + Sync)) -> Result<(), RuntimeError> {
        self.follow_events(since, changed).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.remove_with_predecessors(id).await
    }
}

/// The address, if this machine has it. Not if `LAN_IP` is a name, which is used where the address changes, or the
/// address of a router that forwards to this machine.
fn own_address(lan_ip: &str) -> Option<IpAddr> {
    let address: IpAddr = lan_ip.trim().parse().ok()?;
    (!address.is_unspecified() && TcpListener::bind((address, 0)).is_ok()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_address_is_an_address_that_this_machine_has() {
        assert_eq!(own_address("127.0.0.1"), Some("127.0.0.1".parse().unwrap()));
        // Reserved for documentation, so no machine has it.
        for other in ["192.0.2.1", "localhost", "0.0.0.0", "::", ""] {
            assert_eq!(own_address(other), None, "{other}");
        }
    }
}
