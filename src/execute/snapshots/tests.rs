use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::ids::{PrincipalId, SessionId};
use dockhost_domain::session::{RevokeSession, Sessions, StartSession, Started};
use dockhost_domain::timestamp::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::memory::{MemorySnapshotStore, StoreHealth};
use super::*;
use crate::event_log::EventLog;
use crate::event_log::memory::MemoryLog;
use crate::execute::Executor;
use crate::sealing::{LogAge, MemoryKeyStore};

const WHO: PrincipalId = PrincipalId::from_uuid(Uuid::from_u128(1));
const OTHER: PrincipalId = PrincipalId::from_uuid(Uuid::from_u128(2));
const OPTIONS: SnapshotOptions = SnapshotOptions { interval: 10, lookup_timeout: Duration::from_secs(20) };
/// What a load looks at first.
const FIRST: usize = 5;

const fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

async fn keyring(keys: &Arc<MemoryKeyStore>, age: LogAge) -> Arc<Keyring> {
    let master = STANDARD.encode([1; 32]).parse().unwrap();
    Arc::new(Keyring::open(Arc::clone(keys) as _, master, age).await.unwrap())
}

/// What is otherwise in a snapshot.
type Change<'a> = &'a dyn Fn(&mut Snapshot);

/// A log, what is kept beside it, and the keys of both.
struct World {
    log: Arc<MemoryLog>,
    store: Arc<MemorySnapshotStore>,
    keyring: Arc<Keyring>,
    keys: Arc<MemoryKeyStore>,
    stop: CancellationToken,
    _stopped: DropGuard,
}

impl World {
    async fn new() -> Self {
        let keys = Arc::new(MemoryKeyStore::default());
        let keyring = keyring(&keys, LogAge::Empty).await;
        for principal in [WHO, OTHER] {
            keyring.for_sealing(principal).await.unwrap();
        }
        let stop = CancellationToken::new();
        Self { log: Arc::default(), store: Arc::default(), keyring, keys, _stopped: stop.clone().drop_guard(), stop }
    }

    /// A log with another past, that says it is the same one, and has the same keys and snapshots.
    fn restored(&self) -> Self {
        let stop = CancellationToken::new();
        Self {
            log: Arc::default(),
            store: Arc::clone(&self.store),
            keyring: Arc::clone(&self.keyring),
            keys: Arc::clone(&self.keys),
            _stopped: stop.clone().drop_guard(),
            stop,
        }
    }

    fn replica(&self) -> Arc<Executor> {
        self.replica_with(OPTIONS)
    }

    fn replica_with(&self, options: SnapshotOptions) -> Arc<Executor> {
        let (store, keyring) = (Arc::clone(&self.store), Arc::clone(&self.keyring));
        let (manager, writer) = SnapshotManager::new(store, keyring, self.log.incarnation().clone(), options);
        tokio::spawn(writer.run(self.stop.clone()));
        Executor::with_snapshots(Arc::clone(&self.log) as _, manager)
    }

    /// So many sessions begin, and every third ends; through one replica.
    async fn sign_in(&self, replica: &Arc<Executor>, who: PrincipalId, count: u128) {
        for n in 1..=count {
            let started = Started { session_id: session(n), expires_at: Timestamp::from_millis(i64::MAX / 2) };
            replica.execute(who, origin(), StartSession(started)).await.map(|_| ()).unwrap();
            if n % 3 == 0 {
                let revoke = RevokeSession { session_id: session(n) };
                replica.execute(who, origin(), revoke).await.map(|_| ()).unwrap();
            }
        }
    }

    /// Waits until a snapshot is kept that is at least as far.
    async fn kept(&self, who: PrincipalId, sequence: u64) -> Snapshot {
        let look = async {
            loop {
                match self.store.kept(Sessions::subject(who)) {
                    Some(snapshot) if snapshot.sequence >= sequence => return snapshot,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        timeout(Duration::from_secs(20), look).await.expect("no such snapshot is kept")
    }

    /// Puts a snapshot in place with this state in it, sealed as its writer would.
    async fn plant(&self, mut snapshot: Snapshot, state: &Sessions) {
        let cipher = self.keyring.for_opening(WHO).await.unwrap();
        snapshot.state = cipher.seal(&binding(&snapshot), serde_json::to_vec(state).unwrap()).unwrap();
        self.store.plant(snapshot);
    }

    /// What the log alone says.
    async fn truth(&self, who: PrincipalId) -> CachedState<Sessions> {
        Executor::new(Arc::clone(&self.log) as _).state::<Sessions>(who).await.unwrap()
    }

    /// Loads on a fresh replica, checks the state against the log's, and returns how many events were read.
    async fn cold_load(&self, who: PrincipalId) -> usize {
        let (fresh, truth) = (self.replica(), self.truth(who).await);
        let before = self.log.events_loaded();
        let cached = fresh.state::<Sessions>(who).await.unwrap();
        let read = self.log.events_loaded() - before;
        assert_eq!((cached.sequence, &cached.state, cached.event()), (truth.sequence, &truth.state, truth.event()));
        read
    }
}

fn origin() -> Origin {
    Origin { actor: Actor::System, cause: "test".to_owned(), trace_parent: None }
}

#[tokio::test]
async fn a_cold_load_goes_on_from_the_snapshot() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 18).await;
    assert_eq!(world.log.events().len(), 24);
    assert_eq!(world.kept(WHO, 20).await.sequence, 20);
    // The first few, the snapshot's own last event, and the four after it.
    assert_eq!(world.cold_load(WHO).await, FIRST + 1 + 4);
}

#[tokio::test]
async fn a_replica_that_only_looks_on_keeps_snapshots_too() {
    let world = World::new().await;
    let plain = Executor::new(Arc::clone(&world.log) as _);
    world.sign_in(&plain, WHO, 9).await;
    // A cold load of a long tail is worth one.
    let looking_on = world.replica();
    looking_on.state::<Sessions>(WHO).await.unwrap();
    assert_eq!(world.kept(WHO, 12).await.sequence, 12);
    // And so are events that pass by, once they are as many.
    world.sign_in(&plain, OTHER, 1).await;
    let started = |n| StartSession(Started { session_id: session(n), expires_at: Timestamp::from_millis(1) });
    for n in 100..110 {
        assert_eq!(world.store.kept(Sessions::subject(WHO)).unwrap().sequence, 12);
        plain.execute(WHO, origin(), started(n)).await.map(|_| ()).unwrap();
        looking_on.aggregates().observe(&Arc::new(world.log.events().last().unwrap().clone()));
    }
    assert_eq!(world.kept(WHO, 13).await.sequence, 23);
}

#[tokio::test]
async fn a_short_aggregate_costs_no_question() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 2).await;
    world.cold_load(WHO).await;
    assert_eq!(world.store.asked(), 0);
}

#[tokio::test]
async fn what_is_not_of_this_log_and_fold_is_ignored() {
    let world = World::new().await;
    let replica = world.replica();
    world.sign_in(&replica, WHO, 18).await;
    world.sign_in(&replica, OTHER, 18).await;
    let (good, of_another) = (world.kept(WHO, 20).await, world.kept(OTHER, 44).await);
    let all = FIRST + 24 - 4;
    // Whole, and sealed as they should be.
    let honest: [(&str, Change<'_>, usize); 4] = [
        ("another fold", &|s| s.fold_version += 1, all),
        ("another log", &|s| s.incarnation = "another".to_owned().into(), all),
        // Here the log is asked first: from the place that it names, to the end.
        ("another moment", &|s| s.sequence -= 1, all + 6),
        ("another event", &|s| s.event = dockhost_domain::ids::EventId::from_uuid(Uuid::nil()), all + 5),
    ];
    for (what, change, read) in honest {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        world.plant(snapshot, &Sessions::default()).await;
        assert_eq!(world.cold_load(WHO).await, read, "{what}");
    }
    // As somebody would change them who has the database, but not the keys.
    let forged: [(&str, Change<'_>); 6] = [
        ("another fold's", &|s| s.fold_version -= 1),
        ("another log's", &|s| s.incarnation = world.log.incarnation().clone()),
        ("of another moment", &|s| (s.sequence, s.event) = (24, world.log.events()[23].envelope.meta.id)),
        ("another's", &|s| s.state.clone_from(&of_another.state)),
        ("damaged", &|s| s.state[20] ^= 1),
        ("empty", &|s| s.state.clear()),
    ];
    for (what, change) in forged {
        let mut snapshot = good.clone();
        match what {
            "another fold's" => snapshot.fold_version += 1,
            "another log's" => snapshot.incarnation = "another".to_owned().into(),
            _ => {}
        }
        world.plant(snapshot.clone(), &world.truth(WHO).await.state).await;
        let mut snapshot = world.store.kept(Sessions::subject(WHO)).unwrap();
        change(&mut snapshot);
        world.store.plant(snapshot);
        assert_eq!(world.cold_load(WHO).await, all, "{what}");
    }
    world.store.plant(good);
    assert_eq!(world.cold_load(WHO).await, FIRST + 1 + 4, "and the good one counts");
}

/// A log that was restored from an older copy, and may have grown since, calls itself the same.
#[tokio::test]
async fn a_snapshot_of_a_past_that_the_log_lost_is_ignored() {
    for since in [9, 18] {
        let world = World::new().await;
        world.sign_in(&world.replica(), WHO, 18).await;
        let snapshot = world.kept(WHO, 20).await;
        let restored = world.restored();
        let plain = Executor::new(Arc::clone(&restored.log) as _);
        restored.sign_in(&plain, WHO, since).await;
        let end = restored.log.events().len();
        assert_eq!(end > 20, since == 18, "shorter than the snapshot, or longer");
        // Each event of what seems to be the tail was read in vain.
        let in_vain = end.saturating_sub(usize::try_from(snapshot.sequence).unwrap() - 1);
        assert_eq!(restored.cold_load(WHO).await, FIRST + in_vain + end - 4, "{since}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_or_silent_is_done_without_and_then_left_alone() {
    for health in [StoreHealth::Failing, StoreHealth::Hanging] {
        let world = World::new().await;
        let replica = world.replica();
        for who in [WHO, OTHER] {
            world.sign_in(&replica, who, 18).await;
        }
        world.kept(OTHER, 44).await;
        world.store.set_health(health);
        let fresh = world.replica_with(SnapshotOptions { lookup_timeout: Duration::from_millis(20), ..OPTIONS });
        for who in [WHO, OTHER] {
            let cached = fresh.confirmed::<Sessions>(who).await.unwrap();
            assert_eq!(cached.state, world.truth(who).await.state, "{health:?}");
        }
        assert_eq!(world.store.asked(), 1, "{health:?}: only the first load waited");
        world.sign_in(&fresh, WHO, 0).await;
    }
}

#[tokio::test]
async fn what_is_kept_is_sealed_and_ends_with_the_key() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 18).await;
    let kept = world.kept(WHO, 20).await;
    let plain = serde_json::to_string(&session(1)).unwrap();
    let seen = |bytes: &[u8]| bytes.windows(plain.len()).any(|window| window == plain.as_bytes());
    assert!(seen(&serde_json::to_vec(&*world.truth(WHO).await.state).unwrap()) && !seen(&kept.state));

    world.keys.lose(&WHO.to_string());
    let world = World { keyring: keyring(&world.keys, LogAge::InUse).await, ..world };
    assert_eq!(world.cold_load(WHO).await, FIRST + 24 - 4);
    // Nor is a key made anew for what comes later.
    world.sign_in(&world.replica(), OTHER, 18).await;
    let replica = world.replica();
    replica.state::<Sessions>(WHO).await.unwrap();
    world.sign_in(&replica, OTHER, 0).await;
    world.kept(OTHER, 44).await;
    assert_eq!(world.store.kept(Sessions::subject(WHO)).unwrap(), kept);
    assert!(matches!(world.keyring.for_opening(WHO).await, Err(crate::sealing::KeyError::Missing(_))));
}
