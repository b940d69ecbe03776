//! Assignments, and a machine in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use dockhost_agent::runtime::container_name;
use dockhost_domain::ids::{InstanceId, UserId};
use dockhost_domain::wire::{Assignment, ContainerSpec, DesiredState, Limits, RestartPolicy};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::link::{Link, NoAnswer, Wire};

/// The assignment of an instance's first container.
pub fn assignment(instance: u128, desired: DesiredState, container_id: Option<String>) -> Assignment {
    let container = ContainerSpec {
        image: None,
        hostname: "box".to_owned(),
        ssh_public_key: "ssh-ed25519 AAAA".to_owned(),
        authorized_keys: None,
        limits: Limits { memory_mib: 512, cpu_millis: 500, pids: 64 },
        container_id,
        restart: RestartPolicy::default(),
        has_run: false,
    };
    Assignment {
        instance_id: InstanceId::from_uuid(Uuid::from_u128(instance)),
        user_id: UserId::from_uuid(Uuid::from_u128(9)),
        placement: 1,
        generation: 1,
        desired,
        container: (desired != DesiredState::Deleted).then_some(container),
    }
}

/// The same after its container was reported.
pub fn with_container(instance: u128, port: u16) -> Assignment {
    let id = format!("{}.{port}", name(instance));
    assignment(instance, DesiredState::Running, Some(id))
}

/// The name of an instance's first container.
pub fn name(instance: u128) -> String {
    container_name(assignment(instance, DesiredState::Running, None).instance_id, 1)
}

/// What the next start does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It starts the container, and says that it failed.
    Warns,
    /// It fails.
    Fails,
    /// It says nothing, ever.
    Silent,
    /// It says this port, whatever it used.
    SaysPort(u16),
}

/// A machine; clones share it.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    /// Whether each container runs.
    pub containers: BTreeMap<String, bool>,
    pub is_docker_down: bool,
    pub is_silent: bool,
    pub faults: VecDeque<Fault>,
    /// The commands but questions, in order.
    pub done: Vec<&'static str>,
    link: Weak<Link>,
}

impl Machine {
    /// A machine without containers, and the link to it.
    pub fn connected() -> (Self, Arc<Link>) {
        let machine = Self::default();
        let link = Arc::new(Link::new(machine.clone()));
        machine.state().link = Arc::downgrade(&link);
        (machine, link)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Wire for Machine {
    fn emit(&self, event: &'static str, body: &Value) -> Result<(), NoAnswer> {
        let mut state = self.state();
        let name = body["USERNAME"].as_str().unwrap().to_owned();
        let Some((answer, link)) = state.answer(event, &name, body).zip(state.link.upgrade()) else { return Ok(()) };
        tokio::spawn(async move { link.deliver(&name, &answer) });
        Ok(())
    }
}

impl State {
    fn answer(&mut self, event: &'static str, name: &str, body: &Value) -> Option<Value> {
        if !event.starts_with("check_") {
            self.done.push(event);
        }
        if self.is_silent {
            return None;
        }
        let failed = |message: &str| json!({ "status": 500, "success": false, "message": message });
        let done = |message: &str| json!({ "status": 200, "success": true, "message": message });
        if self.is_docker_down {
            return Some(if event.starts_with("check_") { json!(false) } else { failed("Cannot connect") });
        }
        Some(match event {
            "check_if_container_exists" => json!(self.containers.contains_key(name)),
            "check_if_container_running" => json!(self.containers.get(name) == Some(&true)),
            "start_container" => return self.start(name, &body["startingPortNo"]),
            "stop_container" if self.containers.get(name) == Some(&true) => {
                self.containers.insert(name.to_owned(), false);
                done("Instance stopped successfully")
            }
            "resume_container" if self.containers.contains_key(name) => {
                self.containers.insert(name.to_owned(), true);
                done("Instance resumed successfully")
            }
            "delete_container" if self.containers.remove(name).is_some() => done("Instance deleted successfully"),
            "stop_container" => failed("Failed to stop instance"),
            "resume_container" => failed("Error while resuming instance"),
            "delete_container" => failed("Failed to delete container"),
            other => panic!("{other}"),
        })
    }

    fn start(&mut self, name: &str, port: &Value) -> Option<Value> {
        let fault = self.faults.pop_front();
        let failed = json!({ "status": 501, "success": false, "message": "Error occured whiel spawing the instance" });
        let is_taken = self.containers.contains_key(name);
        if is_taken || fault == Some(Fault::Fails) {
            return Some(failed);
        }
        self.containers.insert(name.to_owned(), true);
        let message = "Instance spawned successfully";
        let started = |port: &Value| json!({ "status": 201, "success": true, "message": message, "PORT_NO": port });
        match fault {
            Some(Fault::Warns) => Some(failed),
            Some(Fault::Silent) => None,
            Some(Fault::SaysPort(port)) => Some(started(&json!(port))),
            Some(Fault::Fails) | None => Some(started(port)),
        }
    }
}
