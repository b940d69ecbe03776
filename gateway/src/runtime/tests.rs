use std::net::Ipv4Addr;
use std::sync::Mutex as StdMutex;

use dockhost_domain::wire::DesiredState;

use super::*;
use crate::observer::{NO_ENGINE, YES_COUNTS_FOR};
use crate::testing::{Fault, Machine, assignment, name, with_container};

struct World {
    machine: Machine,
    runtime: SocketIoRuntime,
    hint: mpsc::Sender<InstanceId>,
}

fn world() -> World {
    let (machine, link) = Machine::connected();
    let (hint, hints) = mpsc::channel(1);
    let containers = Containers::new("20000-20099".parse().unwrap(), 0);
    World { machine, runtime: SocketIoRuntime::new(link, containers, Ipv4Addr::LOCALHOST.into(), hints), hint }
}

impl World {
    /// Creates the container of an instance.
    async fn create(&self, instance: u128) -> Result<(), RuntimeError> {
        let assigned = assignment(instance, DesiredState::Running, None);
        self.runtime.assigned(&assigned);
        self.runtime.create(&assigned, assigned.container.as_ref().unwrap()).await
    }

    /// The machine has the container, and an assignment says so.
    fn has(&self, instance: u128, port: u16, is_running: bool) {
        self.machine.state().containers.insert(name(instance), is_running);
        self.runtime.assigned(&with_container(instance, port));
    }

    /// The only container.
    async fn only(&self, instance: u128) -> Container {
        let listed = self.runtime.list(Some(id(instance))).await.unwrap();
        let [container] = &listed[..] else { panic!("{listed:?}") };
        container.clone()
    }

    fn done(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.machine.state().done)
    }
}

fn id(instance: u128) -> InstanceId {
    assignment(instance, DesiredState::Running, None).instance_id
}

fn message(error: &RuntimeError) -> String {
    error.for_users().to_string()
}

#[tokio::test(start_paused = true)]
async fn create_makes_a_container_whose_id_says_its_ports() {
    let world = world();
    world.create(1).await.unwrap();
    let container = world.only(1).await;
    assert_eq!(container.id.as_str(), format!("{}.20000", name(1)));
    assert_eq!((container.ports.ssh, container.state), (20000, ContainerState::Starting));
    world.create(2).await.unwrap();
    assert_eq!(world.only(2).await.ports.ssh, 20003);
    assert_eq!(world.done(), ["start_container", "start_container"]);
}

#[tokio::test(start_paused = true)]
async fn create_that_the_machine_calls_failed_though_it_runs_begins_anew() {
    let world = world();
    world.machine.state().faults.push_back(Fault::Warns);
    world.create(1).await.unwrap();
    assert_eq!(world.done(), ["start_container", "delete_container", "start_container"]);
    world.machine.state().faults.extend([Fault::Fails, Fault::Fails]);
    assert_eq!(message(&world.create(2).await.unwrap_err()), "its machine could not start a container");
    assert_eq!(world.done(), ["start_container", "start_container"]);
}

#[tokio::test(start_paused = true)]
async fn create_on_ports_that_make_no_sense_is_undone() {
    let world = world();
    world.create(1).await.unwrap();
    for port in [20002, 80, 65535] {
        world.machine.state().faults.extend([Fault::SaysPort(port), Fault::SaysPort(port)]);
        world.create(2).await.unwrap_err();
        assert!(!world.machine.state().containers.contains_key(&name(2)), "{port}");
    }
    world.create(2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn create_where_an_earlier_start_was_never_answered_replaces_its_container() {
    let world = world();
    world.machine.state().containers.insert(name(1), true);
    world.create(1).await.unwrap();
    assert_eq!(world.done(), ["delete_container", "start_container"]);
}

#[tokio::test(start_paused = true)]
async fn create_leaves_a_container_alone_whose_report_arrives_late() {
    let world = world();
    world.machine.state().containers.insert(name(1), true);
    let report = async {
        sleep(SETTLING_TIME / 2).await;
        world.runtime.assigned(&with_container(1, 20030));
    };
    let (created, ()) = tokio::join!(world.create(1), report);
    assert!(matches!(created, Err(RuntimeError::AlreadyExists)), "{created:?}");
    assert_eq!(world.done(), [""; 0]);
    assert_eq!(world.only(1).await.ports.ssh, 20030);
}

#[tokio::test(start_paused = true)]
async fn create_that_is_never_answered_fails_and_can_be_tried_again() {
    let world = world();
    world.machine.state().faults.push_back(Fault::Silent);
    assert_eq!(message(&world.create(1).await.unwrap_err()), NO_ANSWER);
    world.create(1).await.unwrap();
    assert_eq!(world.done(), ["start_container", "delete_container", "start_container"]);
}

#[tokio::test(start_paused = true)]
async fn list_container_is_gone_only_if_another_one_shows_that_the_engine_works() {
    let world = world();
    world.has(1, 20000, true);
    world.has(2, 20003, false);
    assert_eq!(world.only(1).await.state, ContainerState::Starting);
    assert_eq!(world.only(2).await.state, ContainerState::Stopped);
    world.machine.state().containers.remove(&name(2));
    assert_eq!(world.runtime.list(Some(id(2))).await.unwrap(), []);
    assert_eq!(world.runtime.list(None).await.unwrap().len(), 1);

    world.machine.state().containers.clear();
    sleep(2 * YES_COUNTS_FOR).await;
    assert_eq!(message(&world.runtime.list(None).await.unwrap_err()), NO_ENGINE);
    assert_eq!(message(&world.runtime.probe().await.unwrap_err()), NO_ENGINE);
}

#[tokio::test(start_paused = true)]
async fn engine_that_is_down_makes_no_container_gone() {
    let world = world();
    world.has(1, 20000, true);
    world.has(2, 20003, true);
    assert_eq!(world.runtime.list(None).await.unwrap().len(), 2, "both were seen just now");
    world.machine.state().is_docker_down = true;
    for of in [Some(id(1)), None] {
        assert_eq!(message(&world.runtime.list(of).await.unwrap_err()), NO_ENGINE);
    }
    world.machine.state().is_docker_down = false;
    assert_eq!(world.runtime.list(None).await.unwrap().len(), 2);
    world.runtime.probe().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn probe_of_a_machine_without_containers_needs_any_answer() {
    let world = world();
    world.runtime.probe().await.unwrap();
    world.machine.state().is_silent = true;
    assert_eq!(message(&world.runtime.probe().await.unwrap_err()), NO_ANSWER);
}

#[tokio::test(start_paused = true)]
async fn stop_and_start_believe_what_is_seen_if_the_machine_says_that_they_failed() {
    let world = world();
    world.has(1, 20000, false);
    let container = world.only(1).await;
    world.runtime.stop(&container.id).await.unwrap();
    world.runtime.start(&container, None).await.unwrap();
    assert_eq!(world.only(1).await.state, ContainerState::Starting);
    world.has(2, 20003, true);
    world.machine.state().containers.remove(&name(1));
    assert!(matches!(world.runtime.stop(&container.id).await, Err(RuntimeError::NotFound)));
    assert!(matches!(world.runtime.start(&container, None).await, Err(RuntimeError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn remove_of_a_container_is_done_when_it_is_seen_to_be() {
    let world = world();
    world.has(1, 20000, true);
    world.runtime.assigned(&assignment(1, DesiredState::Deleted, None));
    let container = world.only(1).await;
    world.machine.state().is_docker_down = true;
    assert_eq!(message(&world.runtime.remove(&container.id).await.unwrap_err()), NO_ENGINE);
    assert_eq!(world.only(1).await, container, "it is still to be removed");
    world.machine.state().is_docker_down = false;
    world.runtime.remove(&container.id).await.unwrap();
    assert_eq!(world.runtime.list(Some(id(1))).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn remove_of_a_container_that_only_the_machine_knows_removes_it() {
    let world = world();
    world.machine.state().containers.insert(name(1), true);
    world.runtime.assigned(&assignment(1, DesiredState::Deleted, None));
    let container = world.only(1).await;
    world.runtime.remove(&container.id).await.unwrap();
    assert_eq!(world.machine.state().containers, BTreeMap::new());
    assert_eq!(world.runtime.list(Some(id(1))).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn remove_of_what_never_existed_has_nothing_to_remove_unless_the_engine_is_down() {
    let world = world();
    world.runtime.assigned(&assignment(1, DesiredState::Deleted, None));
    assert_eq!(world.runtime.list(Some(id(1))).await.unwrap(), []);
    world.has(2, 20000, true);
    world.machine.state().is_docker_down = true;
    assert_eq!(message(&world.runtime.list(Some(id(1))).await.unwrap_err()), NO_ENGINE);
}

#[tokio::test(start_paused = true)]
async fn watch_passes_hints_on_at_a_limited_rate() {
    let world = world();
    let seen = StdMutex::new(Vec::new());
    let changed = |instance: InstanceId| seen.lock().unwrap().push(instance);
    let began = Instant::now();
    let hints = async {
        for instance in 1..=4 {
            world.hint.send(id(instance)).await.unwrap();
        }
    };
    tokio::select! {
        _ = world.runtime.watch(0, &changed) => panic!("it ends"),
        () = hints => {}
    }
    // The last of the four waits in the channel.
    assert!(began.elapsed() >= 2 * HINT_INTERVAL && seen.lock().unwrap().len() == 3, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn authorize_fails_rather_than_leaving_old_keys_unnoticed() {
    let world = world();
    world.has(1, 20000, true);
    let (container, assigned) = (world.only(1).await, with_container(1, 20000));
    let error = world.runtime.authorize(&container, assigned.container.as_ref().unwrap()).await.unwrap_err();
    assert_eq!(message(&error), FIXED_KEYS);
}
