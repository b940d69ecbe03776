//! The stream ASSIGNMENTS when the broker is killed: what was replaced or removed stays so.

use dockhost::broker::assignments::Assignments;
use dockhost::broker::streams::{self, ASSIGNMENTS, StreamOptions};
use dockhost_domain::ids::{BackendId, InstanceId, UserId};
use dockhost_domain::wire::{Assignment, ContainerSpec, DesiredState, Limits};
use uuid::Uuid;

use crate::harness::Nats;

fn assignment(instance: u128, generation: u32, wanted: DesiredState) -> Assignment {
    Assignment {
        instance_id: InstanceId::from_uuid(Uuid::from_u128(instance)),
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        placement: 1,
        generation,
        desired: wanted,
        container: (wanted != DesiredState::Deleted).then(|| ContainerSpec {
            image: None,
            hostname: "box".to_owned(),
            ssh_public_key: "key".to_owned(),
            limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
            container_id: None,
        }),
    }
}

async fn assignments(nats: &Nats) -> Assignments {
    let broker = nats.main().await;
    streams::ensure(broker.jetstream(), &StreamOptions::default()).await.unwrap();
    Assignments::new(broker.jetstream().clone(), broker.jetstream().get_stream(ASSIGNMENTS).await.unwrap())
}

#[tokio::test]
async fn what_was_removed_is_not_there_again_when_the_broker_was_killed() {
    let mut nats = Nats::start().await;
    let backend = BackendId::from_uuid(Uuid::from_u128(7));
    let mut stands = assignments(&nats).await;
    let mut removed = Vec::new();
    // Every second one stays, so that the broker can't forget a whole block of its store at once.
    for id in 0..6 {
        let first = assignment(id, 1, DesiredState::Running);
        let instance = first.instance_id;
        for next in [first, assignment(id, 2, DesiredState::Deleted)] {
            let current = stands.current(backend, instance).await.unwrap();
            assert!(stands.replace(backend, &next, &current).await.unwrap());
        }
        if id % 2 == 1 {
            let current = stands.current(backend, instance).await.unwrap();
            stands.remove(current.sequence).await.unwrap();
            removed.push((instance, current.sequence));
        }
    }
    nats.kill().await;
    nats.restart().await;
    stands = assignments(&nats).await;
    for (instance, sequence) in removed {
        let current = stands.current(backend, instance).await.unwrap();
        assert_eq!(current.assignment, None, "an assignment from before the removed one is back");
        // Whoever was in the middle of removing it finds that it is gone.
        stands.remove(sequence).await.unwrap();
    }
    assert_eq!(stands.of(backend).await.unwrap().len(), 3);
}
