//! State after a restart, port allocation, and a missing image.

use std::os::unix::fs::PermissionsExt;

use dockhost_domain::wire::{DesiredState, Limits, RestartPolicy};
use uuid::Uuid;

use super::*;

fn options() -> SimulationOptions {
    SimulationOptions { ports: "20000-20005".parse().unwrap(), delay: Duration::ZERO, image_missing: false }
}

fn open(dir: &Path) -> SimulatedRuntime {
    SimulatedRuntime::open(dir, "b", 0, options()).unwrap()
}

fn assignment(n: u128) -> (Assignment, ContainerSpec) {
    let spec = ContainerSpec {
        image: None,
        hostname: "box".to_owned(),
        ssh_public_key: String::new(),
        authorized_keys: None,
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        container_id: None,
        restart: RestartPolicy::default(),
        has_run: false,
    };
    let assignment = Assignment {
        instance_id: InstanceId::from_uuid(Uuid::from_u128(n)),
        user_id: UserId::from_uuid(Uuid::from_u128(9)),
        placement: 1,
        generation: 1,
        desired: DesiredState::Running,
        container: Some(spec.clone()),
    };
    (assignment, spec)
}

#[tokio::test]
async fn simulated_runtime_restart_finds_its_containers() {
    let dir = tempfile::tempdir().unwrap();
    let (one, spec) = assignment(1);
    let (two, _) = assignment(2);
    let runtime = open(dir.path());
    runtime.create(&one, &spec).await.unwrap();
    runtime.create(&two, &spec).await.unwrap();
    assert!(matches!(runtime.create(&one, &spec).await, Err(RuntimeError::AlreadyExists)));
    let containers = runtime.list(Some(one.instance_id)).await.unwrap();
    assert_eq!((containers.len(), containers[0].state), (1, ContainerState::Created));
    runtime.start(&containers[0], Some(&spec)).await.unwrap();
    runtime.stop(&containers[0].id).await.unwrap();
    let gone = runtime.list(Some(two.instance_id)).await.unwrap().remove(0);
    runtime.remove(&gone.id).await.unwrap();

    // A crash while a line was written.
    OpenOptions::new().append(true).open(dir.path().join("b.jsonl")).unwrap().write_all(b"{\"put\":{\"i").unwrap();
    drop(runtime);
    let after = open(dir.path()).list(None).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!((after[0].state, after[0].ports), (ContainerState::Stopped, containers[0].ports));
}

#[tokio::test]
async fn simulated_runtime_without_free_ports_refuses_until_a_container_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(dir.path());
    for n in 1..=2 {
        let (assignment, spec) = assignment(n);
        runtime.create(&assignment, &spec).await.unwrap();
    }
    let (three, spec) = assignment(3);
    assert!(matches!(runtime.create(&three, &spec).await, Err(RuntimeError::NoPorts(_))));
    let first = runtime.list(None).await.unwrap().remove(0);
    runtime.remove(&first.id).await.unwrap();
    runtime.create(&three, &spec).await.unwrap();
}

#[tokio::test]
async fn simulated_runtime_without_an_image_refuses_creations() {
    let dir = tempfile::tempdir().unwrap();
    let options = SimulationOptions { image_missing: true, ..options() };
    let runtime = SimulatedRuntime::open(dir.path(), "a", 0, options).unwrap();
    let (assignment, spec) = assignment(1);
    for _ in 0..2 {
        assert!(matches!(runtime.create(&assignment, &spec).await, Err(RuntimeError::ImageMissing(_))));
        assert!(runtime.ensure_image(None, &|_| ()).await.is_ok());
    }
    assert!(runtime.list(None).await.unwrap().is_empty());
}

#[test]
fn simulated_runtime_files_are_private_and_used_by_one_process() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state/agent");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let first = SimulatedRuntime::open(&dir, "b", 0, options()).unwrap();
    assert_eq!((mode(&dir), mode(dir.parent().unwrap())), (0o700, 0o700));
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600, 0o600], "{files:?}");
    let refused = SimulatedRuntime::open(&dir, "b", 0, options()).unwrap_err();
    assert_eq!(refused.to_string(), "another agent uses this directory");
    drop(first);
    assert!(SimulatedRuntime::open(&dir, "b", 0, options()).is_ok());
}
