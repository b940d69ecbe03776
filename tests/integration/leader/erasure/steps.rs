//! An erasure that stops after any step is resumed there.

use std::sync::Arc;

use dockhost::accounts::erase::erase;
use dockhost::app::secrets::Secrets;
use dockhost::broker::assignments::Assignments;
use dockhost::common::clock;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use dockhost::execute::Executor;
use dockhost::leader::erasure::{ErasureProcess, NextStep};
use dockhost_domain::account::{EraseAccount, ErasedBy};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::session::CloseSessions;
use dockhost_domain::tenancy::event::CloseReason;
use dockhost_domain::tenancy::{ChangeInstance, CloseTenancy, Policy};
use dockhost_domain::wire::DesiredState;
use dockhost_projections::store::MongoStore;

use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// An erasure process outside of a server.
async fn erasure_process(world: &World) -> ErasureProcess {
    let env = world.server_env();
    let read = |name: &str| env.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let master_key = Secrets::read(read).unwrap().master_key;
    let broker = world.nats.main().await;
    let log = JetStreamLog::open(broker.client().clone(), master_key, LogOptions::default()).await.unwrap();
    let js = broker.jetstream().clone();
    ErasureProcess {
        keyring: Arc::clone(log.keyring()),
        executor: Executor::new(Arc::new(log)),
        assignments: Assignments::open(&js).await.unwrap(),
        store: MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap(),
    }
}

fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

/// Performs the next step, as the reaction does; `false` if the step is to wait.
async fn step(erasure: &ErasureProcess, user: UserId) -> bool {
    match erasure.next_step(user).await.unwrap() {
        NextStep::Sessions => drop(erasure.executor.execute(user.into(), origin(), CloseSessions).await.unwrap()),
        NextStep::Tenancy => {
            let close = CloseTenancy { reason: CloseReason::Erased };
            erasure.executor.execute(user, origin(), close).await.unwrap();
        }
        NextStep::Instances { not_requested, .. } if !not_requested.is_empty() => {
            let instance_id = not_requested[0];
            let delete =
                ChangeInstance { instance_id, to: DesiredState::Deleted, now: clock::now(), policy: Policy::default() };
            erasure.executor.execute(user, origin(), delete).await.unwrap();
        }
        _ => return false,
    }
    true
}

#[tokio::test]
async fn erasure_stopped_after_any_step_is_completed_by_the_next_leader() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 50).await;
    let erasure = erasure_process(&world).await;
    let mut users = Vec::new();
    for n in 0..6 {
        let client = world.user(&format!("ada{n}")).await;
        for _ in 0..2 {
            assert_eq!(client.create().await.status, 201);
        }
        users.push(erasure.find(&format!("ada{n}")).await.unwrap().unwrap());
    }
    // Without a leader only this test performs steps.
    world.kill_replica(0).await;
    for (steps, user) in users.iter().enumerate() {
        for _ in 0..2 {
            let command = EraseAccount { by: ErasedBy::Operator };
            erase(&erasure.executor, &erasure.keyring, *user, &command, &origin()).await.unwrap();
        }
        for _ in 0..steps {
            let performed = step(&erasure, *user).await;
            assert!(performed || steps > 4, "after {steps} steps: {:?}", erasure.next_step(*user).await);
        }
        assert!(erasure.keyring.has_key((*user).into()).await.unwrap());
    }
    // The last step before the event is acknowledged: the key is destroyed and the leader stops.
    let last = users[5];
    erasure.keyring.destroy(last.into()).await.unwrap();

    world.add_replica().await;
    for user in users {
        wait_until("the user is erased", DEADLINE, async || match erasure.next_step(user).await {
            Ok(NextStep::Nothing) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let gone = erasure.keyring.for_opening(user.into()).await.unwrap_err();
        assert!(gone.to_string().contains("was erased"), "{gone}");
    }
    world.verify().await;
}

#[tokio::test]
async fn keyring_destroy_refuses_a_user_who_is_not_erased() {
    let world = World::start(1).await;
    world.user("ada").await;
    let erasure = erasure_process(&world).await;
    let ada = erasure.find("ada").await.unwrap().unwrap();
    erasure.keyring.destroy(ada.into()).await.unwrap_err();
    assert!(erasure.keyring.has_key(ada.into()).await.unwrap());
}
