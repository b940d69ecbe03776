//! Stopped after any of its steps, an erasure is taken up where it stands.

use std::sync::Arc;

use dockhost::app::secrets::Secrets;
use dockhost::broker::assignments::Assignments;
use dockhost::broker::streams::ASSIGNMENTS;
use dockhost::common::clock;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use dockhost::execute::Executor;
use dockhost::leader::erasure::{ErasureProcess, NextStep};
use dockhost_domain::account::ErasedBy;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::UserId;
use dockhost_domain::session::CloseSessions;
use dockhost_domain::tenancy::event::CloseReason;
use dockhost_domain::tenancy::{ChangeInstance, CloseTenancy, Policy};
use dockhost_domain::wire::DesiredState;
use dockhost_projections::store::MongoStore;

use crate::harness::wait::DEADLINE;
use crate::harness::{World, wait_until};

/// What a leader has in its hands, without one.
async fn hands(world: &World) -> ErasureProcess {
    let env = world.server_env();
    let read = |name: &str| env.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let master_key = Secrets::read(read).unwrap().master_key;
    let broker = world.nats.main().await;
    let log = JetStreamLog::open(broker.client().clone(), master_key, LogOptions::default()).await.unwrap();
    let js = broker.jetstream().clone();
    ErasureProcess {
        keyring: Arc::clone(log.keyring()),
        executor: Executor::new(Arc::new(log)),
        assignments: Assignments::new(js.clone(), js.get_stream(ASSIGNMENTS).await.unwrap()),
        store: MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap(),
    }
}

fn origin() -> Origin {
    Origin { actor: Actor::System, cause: "test".to_owned(), trace_parent: None }
}

/// Does what is due, as the reaction would; `false` if it can only be waited for.
async fn step(hands: &ErasureProcess, user: UserId) -> bool {
    match hands.next_step(user).await.unwrap() {
        NextStep::Sessions => drop(hands.executor.execute(user.into(), origin(), CloseSessions).await.unwrap()),
        NextStep::Tenancy => {
            let close = CloseTenancy { reason: CloseReason::Erased };
            hands.executor.execute(user, origin(), close).await.unwrap();
        }
        NextStep::Instances { not_requested, .. } if !not_requested.is_empty() => {
            let instance_id = not_requested[0];
            let delete =
                ChangeInstance { instance_id, to: DesiredState::Deleted, now: clock::now(), policy: Policy::default() };
            hands.executor.execute(user, origin(), delete).await.unwrap();
        }
        _ => return false,
    }
    true
}

#[tokio::test]
async fn an_erasure_is_taken_up_after_whichever_step() {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 50).await;
    let hands = hands(&world).await;
    let mut users = Vec::new();
    for n in 0..6 {
        let client = world.user(&format!("ada{n}")).await;
        for _ in 0..2 {
            assert_eq!(client.create().await.status, 201);
        }
        users.push(hands.find(&format!("ada{n}")).await.unwrap().unwrap());
    }
    // No leader, so nobody else does anything meanwhile.
    world.kill_replica(0).await;
    for (steps, user) in users.iter().enumerate() {
        hands.begin(*user, ErasedBy::Operator, &origin()).await.unwrap();
        hands.begin(*user, ErasedBy::Operator, &origin()).await.unwrap();
        for _ in 0..steps {
            let moved = step(&hands, *user).await;
            assert!(moved || steps > 4, "after {steps} steps: {:?}", hands.next_step(*user).await);
        }
        assert!(hands.keyring.has_key((*user).into()).await.unwrap());
    }
    // The last thing that can be done before the event is acknowledged: the key is gone, and the leader too.
    let last = users[5];
    hands.keyring.destroy(last.into()).await.unwrap();

    world.add_replica().await;
    for user in users {
        wait_until("it is erased", DEADLINE, async || match hands.next_step(user).await {
            Ok(NextStep::Nothing) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        let gone = hands.keyring.for_opening(user.into()).await.unwrap_err();
        assert!(gone.to_string().contains("was erased"), "{gone}");
    }
    world.verify().await;
}

/// The key of somebody whom the log does not call erased stays, whoever asks.
#[tokio::test]
async fn the_key_of_the_living_is_not_destroyed() {
    let world = World::start(1).await;
    world.user("ada").await;
    let hands = hands(&world).await;
    let ada = hands.find("ada").await.unwrap().unwrap();
    hands.keyring.destroy(ada.into()).await.unwrap_err();
    assert!(hands.keyring.has_key(ada.into()).await.unwrap());
}
