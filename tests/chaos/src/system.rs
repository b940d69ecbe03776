//! The system under test: replicas, agents, broker and database, each of which can be killed.
//!
//! It saves the container changes of each machine, because an agent compacts its file when it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockhost_domain::ids::BackendId;
use dockhost_harness::hosts::Missing;
use dockhost_harness::{Topology as Servers, World};

use crate::administrator;
use crate::collect;
use crate::observation::{Change, Machine};
use crate::report::{Plan, Topology};

/// A machine's maximum of containers. All machines together have fewer places than all clients want, so that a machine
/// is sometimes full.
pub const MAX_CONTAINERS: u32 = 12;

pub struct System {
    pub world: World,
    machines: Vec<Machine>,
    quota: u32,
}

impl System {
    /// Starts all processes, and waits until all agents are connected.
    pub async fn start(plan: &Plan) -> Self {
        let servers = match plan.topology {
            Topology::R1 => Servers::ONE.with_own_database(),
            Topology::R3 => Servers::THREE,
        };
        let quota = plan.quota.to_string();
        let mut settings = vec![("DOCKHOST_MAX_INSTANCES_PER_USER", quota.as_str())];
        settings.extend(administrator::SETTINGS);
        let world = World::on_hosts(servers, plan.replicas, &settings).await;
        let mut system = Self { world, machines: Vec::new(), quota: plan.quota };
        for n in 0..plan.agents {
            system.add_agent(&format!("machine-{n}")).await;
        }
        system
    }

    async fn add_agent(&mut self, name: &str) {
        let index = self.world.add_agent(name, MAX_CONTAINERS).await;
        debug_assert_eq!(index, self.machines.len());
        let answer = self.world.backend(name).await.get("/api/v2/backend").await;
        let backend_id: BackendId =
            answer.data()["backend"]["id"].as_str().or_else(|| answer.data()["id"].as_str()).unwrap().parse().unwrap();
        let max_containers = MAX_CONTAINERS as usize;
        self.machines.push(Machine { name: name.to_owned(), backend_id, max_containers, changes: Vec::new() });
    }

    /// What this machine lacks for faults.
    #[must_use]
    pub fn missing(&self) -> Missing {
        self.world.hosts.as_ref().map(|hosts| hosts.missing().clone()).unwrap_or_default()
    }

    /// Maximum number of a user's instances.
    #[must_use]
    pub const fn quota(&self) -> u32 {
        self.quota
    }

    /// The machines' ids.
    #[must_use]
    pub fn backend_ids(&self) -> Vec<BackendId> {
        self.machines.iter().map(|machine| machine.backend_id).collect()
    }

    /// The replicas' URLs, which stay the same across restarts.
    #[must_use]
    pub fn urls(&self) -> Arc<[String]> {
        self.world.replicas.iter().map(|replica| replica.url.clone()).collect()
    }

    /// Copies the logs of all processes into a folder, because their own folders are removed with the system.
    pub fn save_logs(&self, folder: &Path) {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        for log in self.world.logs() {
            // `replica-3.log`; `nats-0/nats.log` becomes `nats-0.log`.
            let name = if log.ends_with("nats.log") || log.ends_with("mongod.log") {
                log.parent().and_then(Path::file_name).map(|parent| PathBuf::from(parent).with_extension("log"))
            } else {
                log.file_name().map(PathBuf::from)
            };
            if let Some(name) = name {
                let _ = std::fs::copy(&log, folder.join(name));
            }
        }
    }

    fn changes_on_disk(&self, agent: usize) -> Vec<Change> {
        collect::changes(&self.world.data.path().join(&self.machines[agent].name))
    }

    /// Kills an agent, and saves the changes in its file before the next start compacts it.
    pub async fn kill_agent(&mut self, agent: usize) {
        self.world.kill_agent(agent).await;
        let changes = self.changes_on_disk(agent);
        self.machines[agent].changes.extend(changes);
    }

    /// The machines with all changes to their containers.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        let mut machines = self.machines.clone();
        for (agent, machine) in machines.iter_mut().enumerate() {
            machine.changes.extend(self.changes_on_disk(agent));
        }
        machines
    }
}
