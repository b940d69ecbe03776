//! The site: a whole DockHost under test, and what must be remembered of it while its parts come and go.
//!
//! In: a plan. Out: replicas, agents, broker and database that can be killed one by one, where clients find the
//! replicas, and each machine's changes across the restarts of its agent (which compacts them when it starts).

use std::sync::Arc;

use dockhost_domain::ids::BackendId;
use dockhost_harness::topology::{Members, Nodes};
use dockhost_harness::{Topology as Servers, World};

use crate::collect;
use crate::observation::{Change, Machine};
use crate::report::{Plan, Topology};

/// Containers that a machine takes: fewer than all users together may have, so that it is full at times.
pub const MAX_CONTAINERS: u32 = 9;

/// All of it.
pub struct Site {
    pub world: World,
    machines: Vec<Machine>,
    quota: u32,
}

impl Site {
    /// Starts everything, and waits until all agents are connected.
    pub async fn start(plan: &Plan) -> Self {
        let servers = match plan.topology {
            Topology::R1 => Servers { broker: Nodes::One, database: Members::Own, proxied: false },
            Topology::R3 => Servers::THREE,
        };
        let quota = plan.quota.to_string();
        let settings = [("DOCKHOST_MAX_INSTANCES_PER_USER", quota.as_str())];
        let world = World::on(servers, plan.replicas, &settings).await;
        let mut site = Self { world, machines: Vec::new(), quota: plan.quota };
        for n in 0..plan.agents {
            site.add_agent(&format!("machine-{n}")).await;
        }
        site
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

    /// Instances that a user may have.
    #[must_use]
    pub const fn quota(&self) -> u32 {
        self.quota
    }

    /// Where clients find the replicas: the places stay when a replica comes back.
    #[must_use]
    pub fn urls(&self) -> Arc<[String]> {
        self.world.replicas.iter().map(|replica| replica.url.clone()).collect()
    }

    fn now_of(&self, agent: usize) -> Vec<Change> {
        collect::changes(&self.world.data.path().join(&self.machines[agent].name))
    }

    /// Kills an agent, and keeps what its file says before the next start makes it short.
    pub async fn kill_agent(&mut self, agent: usize) {
        self.world.kill_agent(agent).await;
        let changes = self.now_of(agent);
        self.machines[agent].changes.extend(changes);
    }

    /// The machines, with all that ever happened to their containers.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        let mut machines = self.machines.clone();
        for (agent, machine) in machines.iter_mut().enumerate() {
            machine.changes.extend(self.now_of(agent));
        }
        machines
    }
}
