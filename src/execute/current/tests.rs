//! Replicas on nodes of a cluster that disagree on who leads the log.

use std::collections::BTreeMap;

use dockhost_domain::claim::{AlreadyClaimed, Claim, ReleaseClaim, TakeClaim};
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::PrincipalId;
use dockhost_domain::subject::{ClaimHash, ClaimId, ClaimKind};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use super::*;
use crate::event_log::EventLog;
use crate::event_log::memory::MemoryLog;
use crate::event_log::memory_node::MemoryNode;
use crate::execute::{ExecuteError, Executed};
use crate::replica::follower::Follower;

const NAME: ClaimId = ClaimId { kind: ClaimKind::Username, hash: ClaimHash::from_bytes([1; 32]) };

const fn principal(n: u128) -> PrincipalId {
    PrincipalId::from_uuid(Uuid::from_u128(n))
}

fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

/// Lets the paused clock go on, so that a publish does not begin at the moment of an earlier question.
async fn tick() {
    sleep(Duration::from_millis(1)).await;
}

/// A replica on a node.
struct Replica {
    executor: Arc<Executor>,
    node: Arc<MemoryNode>,
    _stop: DropGuard,
}

impl Replica {
    async fn following(log: &Arc<MemoryLog>) -> Self {
        let node = MemoryNode::of(log);
        let executor = Executor::new(Arc::clone(&node) as Arc<dyn EventLog>);
        let stop = CancellationToken::new();
        let follower = Follower::new(Arc::clone(&executor), Arc::default());
        tokio::spawn(Arc::clone(&follower).run(0, BTreeMap::new(), stop.clone()));
        follower.wait_until_caught_up().await;
        Self { executor, node, _stop: stop.drop_guard() }
    }

    async fn take(&self, owner: u128) -> Result<Executed<Claim>, ExecuteError<AlreadyClaimed>> {
        tick().await;
        self.executor.execute(NAME, origin(), TakeClaim { owner: principal(owner) }).await
    }

    async fn release(&self, owner: u128) {
        self.executor.execute(NAME, origin(), ReleaseClaim { owner: principal(owner) }).await.map(|_| ()).unwrap();
    }

    async fn holder(&self) -> Result<Option<PrincipalId>, LogError> {
        tick().await;
        Ok(self.executor.confirmed::<Claim>(NAME).await?.state.owner)
    }
}

#[tokio::test(start_paused = true)]
async fn verdict_without_an_event_from_a_deposed_leader_is_refused() {
    let log = Arc::default();
    let (minority, majority) = (Replica::following(&log).await, Replica::following(&log).await);
    majority.take(1).await.map(|_| ()).unwrap();
    assert_eq!(minority.holder().await.unwrap(), Some(principal(1)));
    minority.node.isolate();
    majority.release(1).await;
    // Its node says that nothing has changed: a no-op, a rejection, and what guards access.
    assert!(matches!(minority.take(1).await, Err(ExecuteError::Unavailable(_))));
    assert!(matches!(minority.take(2).await, Err(ExecuteError::Unavailable(_))));
    assert!(minority.holder().await.is_err());
    let age = Freshness::Within(Duration::from_secs(1));
    sleep(Duration::from_secs(1)).await;
    assert!(minority.executor.current::<Claim>(NAME, age).await.is_err());
    let mut batch = minority.executor.batch(origin());
    assert!(matches!(batch.decide(NAME, &TakeClaim { owner: principal(2) }).await, Err(ExecuteError::Unavailable(_))));

    minority.node.rejoin();
    assert_eq!(minority.holder().await.unwrap(), None);
    assert!(minority.take(1).await.unwrap().stored.is_some());
}

#[tokio::test(start_paused = true)]
async fn verdict_sees_what_was_acknowledged_elsewhere() {
    let log = Arc::default();
    let (one, other) = (Replica::following(&log).await, Replica::following(&log).await);
    for round in 0..50 {
        assert!(one.take(1).await.unwrap().stored.is_some(), "{round}");
        assert!(matches!(other.take(2).await, Err(ExecuteError::Rejected(AlreadyClaimed))), "{round}");
        other.release(1).await;
        assert_eq!(one.holder().await.unwrap(), None, "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn verdict_while_the_follower_lags_is_read_from_the_log() {
    let log = Arc::default();
    let (one, other) = (Replica::following(&log).await, Replica::following(&log).await);
    assert_eq!(other.holder().await.unwrap(), None);
    other.node.hold_deliveries(log.last());
    one.take(1).await.map(|_| ()).unwrap();
    assert!(matches!(other.take(2).await, Err(ExecuteError::Rejected(AlreadyClaimed))));
    // Its own node lags, too.
    other.node.fall_behind(log.last() - 1);
    one.release(1).await;
    assert!(matches!(other.take(2).await, Err(ExecuteError::Unavailable(_))));
}

#[tokio::test]
async fn verdict_without_a_follower_is_read_from_the_log() {
    let log = Arc::default();
    let writer = Replica::following(&log).await;
    let executor = Executor::new(MemoryNode::of(&log) as Arc<dyn EventLog>);
    assert_eq!(executor.confirmed::<Claim>(NAME).await.unwrap().state.owner, None);
    writer.take(1).await.map(|_| ()).unwrap();
    assert_eq!(executor.confirmed::<Claim>(NAME).await.unwrap().state.owner, Some(principal(1)));
}

/// Otherwise the state would lack an event for ever: the follower does not deliver it again.
#[tokio::test(start_paused = true)]
async fn state_loaded_from_a_lagging_copy_lacks_no_event_that_the_follower_passed() {
    let log = Arc::default();
    let (one, other) = (Replica::following(&log).await, Replica::following(&log).await);
    one.take(1).await.map(|_| ()).unwrap();
    one.release(1).await;
    other.executor.applied().wait_until(log.last()).await;
    other.node.fall_behind(1);
    assert!(matches!(other.executor.state::<Claim>(NAME).await, Err(LogError::Unavailable(_))));
    let (loaded, ()) = tokio::join!(other.executor.state::<Claim>(NAME), async {
        sleep(MAX_LAG / 2).await;
        other.node.rejoin();
    });
    let loaded = loaded.unwrap();
    assert_eq!((loaded.sequence, loaded.events(), loaded.state.owner), (log.last(), 2, None));
}

#[tokio::test(start_paused = true)]
async fn verdicts_at_once_share_a_barrier_and_a_bounded_age_needs_none() {
    let log = Arc::default();
    let replica = Replica::following(&log).await;
    replica.take(1).await.map(|_| ()).unwrap();
    let before = replica.node.barriers();
    let verdicts = join_all((0..64).map(|_| replica.holder())).await;
    assert!(verdicts.into_iter().all(|owner| owner.unwrap() == Some(principal(1))));
    let shared = replica.node.barriers();
    assert!((1..=2).contains(&(shared - before)), "{}", shared - before);
    sleep(Duration::from_millis(500)).await;
    let age = Freshness::Within(Duration::from_secs(1));
    for _ in 0..10 {
        assert_eq!(replica.executor.current::<Claim>(NAME, age).await.unwrap().state.owner, Some(principal(1)));
    }
    assert_eq!(replica.node.barriers(), shared);
    sleep(Duration::from_secs(1)).await;
    replica.executor.current::<Claim>(NAME, age).await.map(|_| ()).unwrap();
    assert_eq!(replica.node.barriers(), shared + 1, "the last proof is too old");
}
