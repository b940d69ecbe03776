//! Rolling upgrades to a release with a newer fold version of a read model.
//!
//! The newer release is the same program with `PROJECTIONS_TEST_NEXT_FOLD` (`projections/src/store/next_fold.rs`): its
//! fold version of `instances` is one higher, and its stored documents have a new member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dockhost_projections::instances::Instances;
use dockhost_projections::store::Checkpoint;
use dockhost_projections::{MongoStore, StoredModel};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::harness::http::Client;
use crate::harness::wait::DEADLINE;
use crate::harness::{World, run, wait_until};
use crate::replicas::{INSTANCE, client_per_replica, list_after, position};

const MODEL: &str = "instances";
const OLD_VERSION: u32 = Instances::FOLD_VERSION;
const NEW_VERSION: u32 = OLD_VERSION + 1;
/// How long the switch of a build is delayed.
const BUILD: Duration = Duration::from_secs(8);

/// Makes the replicas that are started from now on replicas of the newer release.
fn upgrade(world: &mut World, build: Duration) {
    world.set("PROJECTIONS_TEST_NEXT_FOLD", MODEL);
    world.set("PROJECTIONS_TEST_BUILD_SECONDS", &build.as_secs().to_string());
}

fn downgrade(world: &mut World) {
    world.set("PROJECTIONS_TEST_NEXT_FOLD", "");
}

async fn store(world: &World) -> MongoStore {
    MongoStore::connect(&world.mongo.uri, &world.mongo.database).await.unwrap()
}

async fn checkpoint(store: &MongoStore) -> Checkpoint {
    store.checkpoint::<Instances>().await.unwrap().unwrap()
}

/// How often the build in progress has reported.
async fn reports(store: &MongoStore) -> u64 {
    checkpoint(store).await.build.map_or(0, |build| build.reports)
}

/// One replica of the older release, a backend, and a user with an instance.
async fn older_replica_with_an_instance() -> (World, Client, MongoStore) {
    let mut world = World::start(1).await;
    world.add_agent("alpha", 100).await;
    let ada = world.user("ada").await;
    assert_eq!(ada.create().await.status, 201);
    let store = store(&world).await;
    (world, ada, store)
}

async fn wait_for_version(store: &MongoStore, version: u32) -> Checkpoint {
    wait_until("the model has switched", 2 * DEADLINE, async || {
        let now = checkpoint(store).await;
        if now.fold_version == version { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await
}

async fn wait_for_collections(store: &MongoStore, expected: &[&str]) {
    wait_until("unused collections are dropped", 2 * DEADLINE, async || {
        let mut names = store.collection_names().await.unwrap();
        names.retain(|name| name.starts_with(MODEL));
        names.sort();
        if names == expected { Ok(()) } else { Err(names.join(" ")) }
    })
    .await;
}

/// The model's part of a replica's `/health`.
async fn health(world: &World, replica: usize) -> Value {
    world.client(replica).get("/health").await.body["projections"][MODEL].clone()
}

/// Sends reads and writes to a replica as long as it is in the balancer, and counts what succeeded.
struct Traffic {
    /// Held for writing while the replica is out of the balancer.
    in_balancer: RwLock<()>,
    over: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Traffic {
    fn start(client: Client) -> (Arc<Self>, Vec<tokio::task::JoinHandle<Vec<String>>>) {
        let (in_balancer, over) = (RwLock::new(()), AtomicBool::new(false));
        let traffic = Arc::new(Self { in_balancer, over, reads: 0.into(), writes: 0.into() });
        let reads = tokio::spawn(Arc::clone(&traffic).read(client.clone()));
        (Arc::clone(&traffic), vec![reads, tokio::spawn(Arc::clone(&traffic).write(client))])
    }

    /// Reads, with pauses so that the machine is not the limit; returns the failed reads.
    async fn read(self: Arc<Self>, client: Client) -> Vec<String> {
        let mut failed = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let _in_balancer = self.in_balancer.read().await;
            let list = client.get(INSTANCE).await;
            if list.status == 200 && list.data().as_array().is_some_and(|list| !list.is_empty()) {
                self.reads.fetch_add(1, Ordering::SeqCst);
            } else {
                failed.push(format!("{list:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        failed
    }

    /// Creates instances and reads each back from its position; returns the failed requests.
    async fn write(self: Arc<Self>, client: Client) -> Vec<String> {
        let mut failed = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            let _in_balancer = self.in_balancer.read().await;
            // 201 if the instance already runs.
            let created = client.json(Method::POST, INSTANCE, &[("prefer", "respond-async")], json!({})).await;
            if ![201, 202].contains(&created.status) {
                failed.push(format!("{created:?}"));
                continue;
            }
            let (id, started) = (created.data()["instanceId"].clone(), Instant::now());
            let list = list_after(&client, position(&created)).await;
            if list.data().as_array().into_iter().flatten().any(|instance| instance["instanceId"] == id) {
                self.writes.fetch_add(1, Ordering::SeqCst);
            } else {
                failed.push(format!("after {:?}: {list:?}", started.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        failed
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn rolling_upgrade_with_a_newer_fold_version_fails_no_read_and_needs_no_command() {
    let mut world = World::start(3).await;
    world.add_agent("alpha", 1000).await;
    let ada = client_per_replica(&world, "ada").await;
    assert_eq!(ada[0].create().await.status, 201);
    let store = store(&world).await;
    let (traffic, tasks): (Vec<_>, Vec<_>) = ada.iter().cloned().map(Traffic::start).unzip();

    upgrade(&mut world, BUILD);
    for replica in 0..3 {
        let out_of_balancer = traffic[replica].in_balancer.write().await;
        world.stop_replica(replica).await;
        world.restart_replica(replica).await;
        drop(out_of_balancer);
        if replica > 0 {
            continue;
        }
        // The first newer replica builds; every replica shows the progress, and the older ones continue to project.
        for other in 0..3 {
            wait_until("the build is shown", DEADLINE, async || match &health(&world, other).await["building"] {
                building if building["foldVersion"] == NEW_VERSION => Ok(()),
                building => Err(building.to_string()),
            })
            .await;
        }
        let before = checkpoint(&store).await;
        assert_eq!((before.fold_version, before.collection.as_str()), (OLD_VERSION, "instances_v1"));
        wait_until("the old documents advance meanwhile", DEADLINE, async || {
            let now = checkpoint(&store).await;
            assert_eq!(now.fold_version, OLD_VERSION, "the build ended before it was observed");
            if now.sequence > before.sequence { Ok(()) } else { Err(now.sequence.to_string()) }
        })
        .await;
        assert_eq!(wait_for_version(&store, NEW_VERSION).await.collection.as_str(), "instances_v2");
        wait_until("the newer replica leads", DEADLINE, async || {
            if world.replicas[0].leads() { Ok(()) } else { Err("an older one does") }
        })
        .await;
        // The older replicas read the newer documents.
        let reads = [traffic[1].reads(), traffic[2].reads()];
        wait_until("older replicas read the newer documents", DEADLINE, async || {
            let more = [traffic[1].reads() - reads[0], traffic[2].reads() - reads[1]];
            if more.iter().all(|more| *more > 50) { Ok(()) } else { Err(format!("{more:?}")) }
        })
        .await;
    }
    wait_for_collections(&store, &["instances_v2"]).await;
    // The last one has only begun.
    wait_until("each replica has served much", 2 * DEADLINE, async || {
        let served: Vec<_> = traffic.iter().map(|one| (one.reads(), one.writes.load(Ordering::SeqCst))).collect();
        if served.iter().all(|(reads, writes)| *reads > 100 && *writes > 10) {
            Ok(())
        } else {
            Err(format!("{served:?}"))
        }
    })
    .await;
    for traffic in &traffic {
        traffic.over.store(true, Ordering::SeqCst);
    }
    let failed: Vec<String> =
        join_all(tasks.into_iter().flatten()).await.into_iter().flat_map(|failed| failed.unwrap()).collect();
    assert!(failed.is_empty(), "{} reads failed: {failed:#?}", failed.len());
    for traffic in &traffic {
        let (reads, writes) = (traffic.reads(), traffic.writes.load(Ordering::SeqCst));
        assert!(reads > 100 && writes > 10, "{reads} reads, {writes} writes");
    }
    world.verify().await;
    downgrade(&mut world);
    let older = run(world.data.path(), &["verify", "--projection", MODEL], &world.server_env()).await;
    let expected = format!(
        "the documents of {MODEL} have fold version {NEW_VERSION}, and this program folds version {OLD_VERSION}"
    );
    assert!(older.code == 1 && older.err.contains(&expected), "{older:?}");
}

/// The newer replica is lost after its switch: the older one leads, but does not fold the model.
#[tokio::test]
async fn older_leader_after_the_switch_leaves_the_model_to_a_newer_replica() {
    let (mut world, ada, store) = older_replica_with_an_instance().await;
    upgrade(&mut world, Duration::ZERO);
    let newer = world.add_replica().await;
    wait_for_version(&store, NEW_VERSION).await;
    wait_until("the newer replica leads", DEADLINE, async || {
        if world.replicas[newer].leads() { Ok(()) } else { Err("the older one does") }
    })
    .await;
    world.kill_replica(newer).await;
    wait_until(
        "the older replica leads",
        DEADLINE,
        async || {
            if world.replicas[0].leads() { Ok(()) } else { Err("none does") }
        },
    )
    .await;
    // Commands work. Reads return the newer documents as they are, and say so.
    assert_eq!(ada.create().await.status, 201);
    let stopped = wait_until("the model has stopped", DEADLINE, async || match health(&world, 0).await {
        health if health["stopped"].is_object() => Ok(health["stopped"].clone()),
        health => Err(health.to_string()),
    })
    .await;
    assert_eq!(stopped["run"], format!("dockhost rebuild --projection {MODEL}"), "{stopped}");
    let list = ada.get(INSTANCE).await;
    assert_eq!((list.status, list.data().as_array().map(Vec::len)), (200, Some(1)), "{list:?}");
    assert!(list.header("dockhost-stale").is_some(), "{list:?}");
    let before = checkpoint(&store).await;
    assert_eq!((before.fold_version, before.collection.as_str()), (NEW_VERSION, "instances_v2"));

    world.restart_replica(newer).await;
    wait_until("the newer replica leads again", DEADLINE, async || {
        if world.replicas[newer].leads() { Ok(()) } else { Err("the older one does") }
    })
    .await;
    wait_until("the model continues", DEADLINE, async || {
        let list = ada.get(INSTANCE).await;
        let (count, stale) = (list.data().as_array().map(Vec::len), list.header("dockhost-stale"));
        if (count, stale) == (Some(2), None) { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    world.verify().await;
    // After a rollback an operator rebuilds with the older program; the newer replica then builds again.
    world.kill_replica(newer).await;
    downgrade(&mut world);
    let rebuilt = run(world.data.path(), &["rebuild", "--projection", MODEL], &world.server_env()).await;
    assert!(rebuilt.code == 0 && rebuilt.out.contains("in instances_v3"), "{rebuilt:?}");
    assert_eq!(checkpoint(&store).await.fold_version, OLD_VERSION);
    wait_until("the older replica projects", DEADLINE, async || {
        let list = ada.get(INSTANCE).await;
        if list.header("dockhost-stale").is_none() { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    world.verify().await;
}

#[tokio::test]
async fn build_of_a_killed_replica_is_taken_over_and_its_collection_dropped() {
    let (mut world, ada, store) = older_replica_with_an_instance().await;
    upgrade(&mut world, Duration::from_secs(300));
    let first = world.add_replica().await;
    wait_until("the first build has written documents", DEADLINE, async || {
        let names = store.collection_names().await.unwrap();
        if names.contains(&"instances_v2".to_owned()) { Ok(()) } else { Err(names.join(" ")) }
    })
    .await;
    upgrade(&mut world, Duration::ZERO);
    let second = world.add_replica().await;
    // While the first one reports, the second one does not build.
    let before = reports(&store).await;
    wait_until("the first build has reported three times", DEADLINE, async || match reports(&store).await {
        reports if reports >= before + 3 => Ok(()),
        reports => Err(reports.to_string()),
    })
    .await;
    assert_eq!(checkpoint(&store).await.building.unwrap().as_str(), "instances_v2");
    world.kill_replica(first).await;
    assert_eq!(wait_for_version(&store, NEW_VERSION).await.collection.as_str(), "instances_v3");
    wait_for_collections(&store, &["instances_v3"]).await;
    assert_eq!(ada.at(&world.replicas[second].url).create().await.status, 201);
    world.verify().await;
}

#[tokio::test]
async fn rebuild_command_during_a_build_takes_over() {
    let (mut world, ada, store) = older_replica_with_an_instance().await;
    upgrade(&mut world, Duration::from_secs(300));
    let newer = world.add_replica().await;
    wait_until("the build has started", DEADLINE, async || match checkpoint(&store).await.building {
        Some(building) if building.as_str() == "instances_v2" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    world.set("PROJECTIONS_TEST_BUILD_SECONDS", "0");
    let rebuilt = run(world.data.path(), &["rebuild", "--projection", MODEL], &world.server_env()).await;
    assert!(rebuilt.code == 0 && rebuilt.out.contains("in instances_v3"), "{rebuilt:?}");
    assert_eq!(checkpoint(&store).await.fold_version, NEW_VERSION);
    wait_until("the builder has given way", DEADLINE, async || {
        let log = std::fs::read_to_string(&world.replicas[newer].log).unwrap();
        if log.contains("another rebuild has taken over") { Ok(()) } else { Err(log) }
    })
    .await;
    wait_for_collections(&store, &["instances_v3"]).await;
    assert_eq!(ada.create().await.status, 201);
    world.verify().await;
}
