//! The stream ASSIGNMENTS survives the death of the broker: replaced and removed assignments do not come back.

use dockhost::broker::assignments::Assignments;
use dockhost::broker::streams::{self, StreamOptions};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::wire::{Assignment, ContainerSpec, DesiredState, Limits, RestartPolicy};
use uuid::Uuid;

use crate::harness::Nats;

fn assignment(instance: u128, generation: u32, desired: DesiredState) -> Assignment {
    Assignment {
        instance_id: InstanceId::from_uuid(Uuid::from_u128(instance)),
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        placement: 1,
        generation,
        desired,
        container: (desired != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: "key".to_owned(),
            authorized_keys: None,
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            container_id: None,
            restart: RestartPolicy::default(),
            has_run: false,
        }),
    }
}

async fn open(nats: &Nats) -> Assignments {
    let broker = nats.main().await;
    streams::ensure(broker.jetstream(), &StreamOptions::default()).await.unwrap();
    Assignments::open(broker.jetstream()).await.unwrap()
}

#[tokio::test]
async fn assignments_broker_killed_removed_ones_stay_removed() {
    let mut nats = Nats::start().await;
    let backend = BackendId::from_uuid(Uuid::from_u128(7));
    let mut assignments = open(&nats).await;
    let mut removed = Vec::new();
    // Every second one stays, so that the broker can't drop a whole block of its store.
    for id in 0..6 {
        let first = assignment(id, 1, DesiredState::Running);
        let instance = first.instance_id;
        for next in [first, assignment(id, 2, DesiredState::Deleted)] {
            let current = assignments.current(backend, instance).await.unwrap();
            assert!(assignments.replace(backend, &next, &current).await.unwrap());
        }
        if id % 2 == 1 {
            let current = assignments.current(backend, instance).await.unwrap();
            assignments.remove(current.sequence).await.unwrap();
            removed.push((instance, current.sequence));
        }
    }
    nats.kill().await;
    nats.restart().await;
    assignments = open(&nats).await;
    for (instance, sequence) in removed {
        let current = assignments.current(backend, instance).await.unwrap();
        assert_eq!(current.assignment, None, "an earlier assignment is back");
        // A repeated removal succeeds.
        assignments.remove(sequence).await.unwrap();
    }
    assert_eq!(assignments.of(backend).await.unwrap().len(), 3);
}
