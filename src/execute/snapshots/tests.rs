use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::idempotency::{KeyedRequest, RequestHash};
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
/// Events that a load reads before it looks for a snapshot.
const FIRST_READ: usize = 5;

const fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

async fn keyring(keys: &Arc<MemoryKeyStore>, age: LogAge) -> Arc<Keyring> {
    let master = STANDARD.encode([1; 32]).parse().unwrap();
    Arc::new(Keyring::open(Arc::clone(keys) as _, master, age).await.unwrap())
}

/// A change of a snapshot.
type Change<'a> = &'a dyn Fn(&mut Snapshot);

/// A log, its snapshots, and the keys of both.
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

    /// An empty log with the same incarnation, keys and snapshots, as after a restore.
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

    /// Starts `count` sessions and revokes every third, through one replica.
    async fn sign_in(&self, replica: &Arc<Executor>, who: PrincipalId, count: u128) {
        for n in 1..=count {
            let started = Started {
                session_id: session(n),
                expires_at: Timestamp::from_millis(i64::MAX / 2),
                token: None,
                client: None,
                refresh_until: None,
            };
            // Some of them with an `Idempotency-Key`.
            let key = RequestHash::from_bits(n);
            let request = (n % 4 == 0).then_some(KeyedRequest { key, request: key, created: None });
            let keyed = Origin { request, ..origin() };
            replica.execute(who, keyed, StartSession(started)).await.map(|_| ()).unwrap();
            if n % 3 == 0 {
                let revoke = RevokeSession { session_id: session(n) };
                replica.execute(who, origin(), revoke).await.map(|_| ()).unwrap();
            }
        }
    }

    /// Waits for a snapshot that includes this sequence.
    async fn snapshot(&self, who: PrincipalId, sequence: u64) -> Snapshot {
        let poll = async {
            loop {
                match self.store.stored(Sessions::subject(who)) {
                    Some(snapshot) if snapshot.sequence >= sequence => return snapshot,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        timeout(Duration::from_secs(20), poll).await.expect("no such snapshot")
    }

    /// Stores a snapshot with this state, sealed as the writer does.
    async fn plant(&self, mut snapshot: Snapshot, state: &Sessions) {
        let cipher = self.keyring.for_opening(WHO).await.unwrap();
        let plain = serde_json::to_vec(&Plain { state, requests: None::<RecentRequests> }).unwrap();
        snapshot.state = cipher.seal(&binding(&snapshot), plain).unwrap();
        self.store.plant(snapshot);
    }

    /// The state folded from the log alone.
    async fn folded(&self, who: PrincipalId) -> CachedState<Sessions> {
        Executor::new(Arc::clone(&self.log) as _).state::<Sessions>(who).await.unwrap()
    }

    /// Loads on a new replica, compares the state with the folded log, and returns the number of events read.
    async fn cold_load(&self, who: PrincipalId) -> usize {
        let (fresh, folded) = (self.replica(), self.folded(who).await);
        let before = self.log.events_loaded();
        let cached = fresh.state::<Sessions>(who).await.unwrap();
        let read = self.log.events_loaded() - before;
        assert_eq!((cached.sequence, &cached.state, cached.event()), (folded.sequence, &folded.state, folded.event()));
        assert_eq!(cached.time(), folded.time());
        assert_eq!(cached.requests(), folded.requests());
        read
    }
}

fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

#[tokio::test]
async fn snapshot_cold_load_resumes_from_it() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 18).await;
    assert_eq!(world.log.events().len(), 24);
    assert_eq!(world.snapshot(WHO, 20).await.sequence, 20);
    // The first few, the snapshot's last event, and the four after it.
    assert_eq!(world.cold_load(WHO).await, FIRST_READ + 1 + 4);
}

#[tokio::test]
async fn snapshot_is_written_by_a_replica_that_only_reads() {
    let world = World::new().await;
    let plain = Executor::new(Arc::clone(&world.log) as _);
    world.sign_in(&plain, WHO, 9).await;
    // After a cold load of many events.
    let reading = world.replica();
    reading.state::<Sessions>(WHO).await.unwrap();
    assert_eq!(world.snapshot(WHO, 12).await.sequence, 12);
    // After as many events were observed.
    world.sign_in(&plain, OTHER, 1).await;
    let started = |n| {
        StartSession(Started {
            session_id: session(n),
            expires_at: Timestamp::from_millis(1),
            token: None,
            client: None,
            refresh_until: None,
        })
    };
    for n in 100..110 {
        assert_eq!(world.store.stored(Sessions::subject(WHO)).unwrap().sequence, 12);
        plain.execute(WHO, origin(), started(n)).await.map(|_| ()).unwrap();
        reading.aggregates().observe(&Arc::new(world.log.events().last().unwrap().clone()));
    }
    assert_eq!(world.snapshot(WHO, 13).await.sequence, 23);
}

#[tokio::test]
async fn snapshot_short_aggregate_is_not_looked_up() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 2).await;
    world.cold_load(WHO).await;
    assert_eq!(world.store.lookups(), 0);
}

#[tokio::test]
async fn snapshot_of_another_log_fold_or_event_is_ignored() {
    let world = World::new().await;
    let replica = world.replica();
    world.sign_in(&replica, WHO, 18).await;
    world.sign_in(&replica, OTHER, 18).await;
    let (good, of_another) = (world.snapshot(WHO, 20).await, world.snapshot(OTHER, 44).await);
    let all = FIRST_READ + 24 - 4;
    // Correctly sealed.
    let sealed: [(&str, Change<'_>, usize); 4] = [
        ("another fold", &|s| s.fold_version += 1, all),
        ("another log", &|s| s.incarnation = "another".to_owned().into(), all),
        // These need a read of the log, from the named sequence to the end.
        ("another moment", &|s| s.sequence -= 1, all + 6),
        ("another event", &|s| s.event = dockhost_domain::ids::EventId::from_uuid(Uuid::nil()), all + 5),
    ];
    for (what, change, read) in sealed {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        world.plant(snapshot, &Sessions::default()).await;
        assert_eq!(world.cold_load(WHO).await, read, "{what}");
    }
    // Changed by someone with access to the database, but without the keys.
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
        world.plant(snapshot.clone(), &world.folded(WHO).await.state).await;
        let mut snapshot = world.store.stored(Sessions::subject(WHO)).unwrap();
        change(&mut snapshot);
        world.store.plant(snapshot);
        assert_eq!(world.cold_load(WHO).await, all, "{what}");
    }
    world.store.plant(good);
    assert_eq!(world.cold_load(WHO).await, FIRST_READ + 1 + 4, "the original is used");
}

/// A log that was restored from an older copy, and may have grown since, has the same incarnation.
#[tokio::test]
async fn snapshot_whose_last_event_the_log_lost_is_ignored() {
    for since in [9, 18] {
        let world = World::new().await;
        world.sign_in(&world.replica(), WHO, 18).await;
        let snapshot = world.snapshot(WHO, 20).await;
        let restored = world.restored();
        let plain = Executor::new(Arc::clone(&restored.log) as _);
        restored.sign_in(&plain, WHO, since).await;
        let end = restored.log.events().len();
        assert_eq!(end > 20, since == 18, "shorter than the snapshot, or longer");
        // The events after the snapshot's sequence are read first, and then discarded.
        let discarded = end.saturating_sub(usize::try_from(snapshot.sequence).unwrap() - 1);
        assert_eq!(restored.cold_load(WHO).await, FIRST_READ + discarded + end - 4, "{since}");
    }
}

#[tokio::test]
async fn snapshot_store_failure_falls_back_to_the_log_and_starts_a_cooldown() {
    for health in [StoreHealth::Failing, StoreHealth::Hanging] {
        let world = World::new().await;
        let replica = world.replica();
        for who in [WHO, OTHER] {
            world.sign_in(&replica, who, 18).await;
        }
        world.snapshot(OTHER, 44).await;
        world.store.set_health(health);
        let fresh = world.replica_with(SnapshotOptions { lookup_timeout: Duration::from_millis(20), ..OPTIONS });
        for who in [WHO, OTHER] {
            let cached = fresh.confirmed::<Sessions>(who).await.unwrap();
            assert_eq!(cached.state, world.folded(who).await.state, "{health:?}");
        }
        assert_eq!(world.store.lookups(), 1, "{health:?}: a load during the cooldown looked it up");
        world.sign_in(&fresh, WHO, 0).await;
    }
}

#[tokio::test]
async fn snapshot_is_sealed_and_ends_with_the_key() {
    let world = World::new().await;
    world.sign_in(&world.replica(), WHO, 18).await;
    let snapshot = world.snapshot(WHO, 20).await;
    let plain = serde_json::to_string(&session(1)).unwrap();
    let seen = |bytes: &[u8]| bytes.windows(plain.len()).any(|window| window == plain.as_bytes());
    assert!(seen(&serde_json::to_vec(&*world.folded(WHO).await.state).unwrap()) && !seen(&snapshot.state));

    world.keys.lose(&WHO.to_string());
    let world = World { keyring: keyring(&world.keys, LogAge::InUse).await, ..world };
    assert_eq!(world.cold_load(WHO).await, FIRST_READ + 24 - 4);
    // No new key is created for later snapshots.
    world.sign_in(&world.replica(), OTHER, 18).await;
    let replica = world.replica();
    replica.state::<Sessions>(WHO).await.unwrap();
    world.sign_in(&replica, OTHER, 0).await;
    world.snapshot(OTHER, 44).await;
    assert_eq!(world.store.stored(Sessions::subject(WHO)).unwrap(), snapshot);
    assert!(matches!(world.keyring.for_opening(WHO).await, Err(crate::sealing::KeyError::Missing(_))));
}
