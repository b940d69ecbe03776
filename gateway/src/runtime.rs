//! The agent's runtime on a machine that speaks Socket.IO.
//!
//! A start both creates and starts a container, so [`Runtime::create`] does both. What a machine says that it did is looked
//! at by [`Observer`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use dockhost_agent::container::{Container, ContainerState};
use dockhost_agent::runtime::{FetchProgress, Runtime, RuntimeError, container_name};
use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::{ContainerId, HostKeys};
use dockhost_domain::wire::{Assignment, ContainerEnd, ContainerSpec, Ports};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep};

use crate::containers::{Containers, Known, Removal};
use crate::link::Link;
use crate::observer::{Engine, NO_ANSWER, Observer, Sight, no_engine, other};
use crate::protocol::{self, Answer, Command};
use crate::ssh;

/// Containers that are looked at at once.
const CONCURRENT_LOOKS: usize = 8;
/// How long to wait for word of a container that was found though no assignment names it: its report may be on the way.
const SETTLING_TIME: Duration = Duration::from_secs(3);
const SETTLING_INTERVAL: Duration = Duration::from_millis(100);
/// Starts of one container: the first one fails if the machine's engine warned of something.
const MAX_STARTS: u32 = 2;
/// A container that runs for so long counts as ready: the servers may not reach the machine.
const READY_AFTER: Duration = Duration::from_secs(10);
/// The shortest pause between two hints of a machine that are followed.
const HINT_INTERVAL: Duration = Duration::from_secs(1);
const FIXED_KEYS: &str = "its machine can't change the keys of a container; create a new instance with the new keys";

/// The containers of a machine that speaks Socket.IO.
pub struct SocketIoRuntime {
    link: Arc<Link>,
    observer: Observer,
    containers: Arc<Containers>,
    /// The machine's address as the servers see it, where they look for SSH servers.
    peer: IpAddr,
    /// Held during a start: two at once would choose the same ports.
    starting: Mutex<()>,
    hints: Mutex<mpsc::Receiver<InstanceId>>,
}

impl SocketIoRuntime {
    /// The containers of the machine at the other end of this link. `hints` are instances that the machine said something
    /// about by itself.
    #[must_use]
    pub fn new(link: Arc<Link>, containers: Containers, peer: IpAddr, hints: mpsc::Receiver<InstanceId>) -> Self {
        let containers = Arc::new(containers);
        let observer = Observer::new(Arc::clone(&link), Arc::clone(&containers));
        Self { link, observer, containers, peer, starting: Mutex::default(), hints: Mutex::new(hints) }
    }

    /// A known container, unless it is gone. One that is to be removed is not looked at: its removal finds out.
    async fn listed(&self, known: Known) -> Result<Option<Container>, RuntimeError> {
        let state = if self.containers.is_to_go(&known) {
            ContainerState::Stopped
        } else {
            match self.observer.look(&known.name()).await? {
                Sight::Running => ContainerState::Starting,
                Sight::Stopped => ContainerState::Stopped,
                Sight::Gone => return Ok(None),
            }
        };
        known.listed(state).map(Some).map_err(|error| other("could not name a container", error))
    }

    /// The container that an assignment wants to be removed, if it is not known and yet there.
    async fn to_remove(&self, removal: &Removal) -> Result<Vec<Container>, RuntimeError> {
        if removal.is_done {
            return Ok(vec![]);
        }
        let name = container_name(removal.assignment.instance_id, removal.assignment.placement);
        if self.observer.look_alone(&name).await? == Sight::Gone {
            // Perhaps there never was one, so it is enough if there is no other container to see whether the engine works.
            let nobody_knows = self.observer.engine(&name).await? == Engine::Unknown;
            return if nobody_knows || self.observer.is_gone(&name).await? { Ok(vec![]) } else { Err(no_engine()) };
        }
        // Nobody reads its ports: it is only removed.
        let nowhere = Ports { ssh: 0, http: 0, https: 0 };
        let listed = Known::of(&removal.assignment, nowhere).listed(ContainerState::Stopped);
        listed.map(|container| vec![container]).map_err(|error| other("could not name a container", error))
    }

    /// Removes a container that was found though no assignment names it: an earlier start whose answer was lost.
    async fn clear(&self, assignment: &Assignment, name: &str) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + SETTLING_TIME;
        while Instant::now() < deadline {
            if self.containers.knows(assignment.instance_id, assignment.placement) {
                return Err(RuntimeError::AlreadyExists);
            }
            sleep(SETTLING_INTERVAL).await;
        }
        tracing::info!(container = name, "removing a container whose start was never answered");
        self.observer.command(Command::Delete, name).await.map(drop)
    }

    /// Starts a new container, once. `None` if the machine says that it failed.
    async fn start_new(&self, name: &str, spec: &ContainerSpec) -> Result<Option<Ports>, RuntimeError> {
        let port = self.containers.next_port().ok_or_else(|| RuntimeError::NoPorts(self.containers.range()))?;
        let body = protocol::start(name, spec.keys().1, port);
        match self.link.call(Command::Start, name, &body).await.map_err(|error| other(NO_ANSWER, error))? {
            Answer::Outcome { success: true, ports, .. } => Ok(ports),
            _ => Ok(None),
        }
    }
}

impl Runtime for SocketIoRuntime {
    fn kind(&self) -> &'static str {
        "socketio"
    }

    fn assigned(&self, assignment: &Assignment) {
        self.containers.learn(assignment);
    }

    async fn list(&self, of: Option<InstanceId>) -> Result<Vec<Container>, RuntimeError> {
        let known = self.containers.of(of);
        if let Some(removal) = of.and_then(|instance| self.containers.removal(instance))
            && known.is_empty()
        {
            return self.to_remove(&removal).await;
        }
        let looks: Vec<_> = known.into_iter().map(|known| self.listed(known)).collect();
        let listed: Vec<_> = stream::iter(looks).buffer_unordered(CONCURRENT_LOOKS).try_collect().await?;
        Ok(listed.into_iter().flatten().collect())
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        self.observer.probe().await
    }

    async fn ensure_image(
        &self,
        _image: Option<&str>,
        _progress: &(dyn Fn(FetchProgress) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        // The machine has one image, which its first start downloads.
        Ok(())
    }

    async fn create(&self, assignment: &Assignment, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let name = container_name(assignment.instance_id, assignment.placement);
        let _turn = self.starting.lock().await;
        if self.observer.ask(Command::Exists, &name).await? {
            self.clear(assignment, &name).await?;
        }
        for _ in 0..MAX_STARTS {
            if let Some(ports) = self.start_new(&name, spec).await? {
                let added = self.containers.add(Known::of(assignment, ports), Instant::now());
                if added.is_ok() {
                    return Ok(());
                }
            }
            // It may run all the same, on ports that nobody told.
            if self.observer.ask(Command::Exists, &name).await? {
                self.observer.command(Command::Delete, &name).await?;
            }
        }
        Err(other("its machine could not start a container", anyhow!("{MAX_STARTS} starts failed")))
    }

    async fn start(&self, container: &Container, _spec: Option<&ContainerSpec>) -> Result<(), RuntimeError> {
        let name = protocol::name_in(&container.id);
        if !self.observer.command(Command::Resume, name).await? {
            match self.observer.look(name).await? {
                Sight::Running => {}
                Sight::Stopped => {
                    return Err(other("its machine could not start the container", anyhow!("it says so")));
                }
                Sight::Gone => return Err(RuntimeError::NotFound),
            }
        }
        self.containers.note_start(container.instance, container.placement, Instant::now());
        Ok(())
    }

    async fn authorize(&self, _container: &Container, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        Err(other(FIXED_KEYS, anyhow!("DockHostV2 has no command for it")))
    }

    async fn is_ssh_ready(&self, container: &Container) -> bool {
        let now = Instant::now();
        self.containers.running_for(container.instance, container.placement, now) >= READY_AFTER
            || ssh::answers(SocketAddr::new(self.peer, container.ports.ssh)).await
    }

    async fn ssh_connections(&self) -> Result<BTreeMap<InstanceId, bool>, RuntimeError> {
        // Nobody sees them from here.
        Ok(BTreeMap::new())
    }

    async fn host_keys(&self, _container: &Container) -> Result<HostKeys, RuntimeError> {
        Ok(HostKeys::default())
    }

    async fn recreate_with_new_ports(
        &self,
        _container: &Container,
        _assignment: &Assignment,
    ) -> Result<(), RuntimeError> {
        // Unreachable: no operation of this runtime says that a port is taken.
        Ok(())
    }

    async fn stop(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let name = protocol::name_in(id);
        if self.observer.command(Command::Stop, name).await? {
            return Ok(());
        }
        match self.observer.look(name).await? {
            Sight::Stopped => Ok(()),
            Sight::Gone => Err(RuntimeError::NotFound),
            Sight::Running => Err(other("its machine could not stop the container", anyhow!("it says so"))),
        }
    }

    async fn end(&self, _id: &ContainerId) -> Result<ContainerEnd, RuntimeError> {
        Ok(ContainerEnd::Unknown)
    }

    async fn engine_time(&self) -> Result<i64, RuntimeError> {
        Ok(0)
    }

    async fn watch(&self, _since: i64, changed: &(dyn Fn(InstanceId) + Send + Sync)) -> Result<(), RuntimeError> {
        let mut hints = self.hints.lock().await;
        while let Some(instance) = hints.recv().await {
            changed(instance);
            sleep(HINT_INTERVAL).await;
        }
        // The machine is gone, and the agent is about to end.
        std::future::pending().await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let name = protocol::name_in(id);
        if !self.observer.command(Command::Delete, name).await? {
            if self.observer.ask(Command::Exists, name).await? {
                return Err(other("its machine could not remove the container", anyhow!("it says so")));
            }
            if !self.observer.is_gone(name).await? {
                return Err(no_engine());
            }
        }
        self.containers.forget(name);
        if let Some(instance) = protocol::instance_in(name) {
            self.containers.note_removal(instance);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
