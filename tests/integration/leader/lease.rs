//! The lease is in memory: its stream begins anew when all nodes of the broker were restarted.

use std::future::pending;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::stream::{Config, StorageType};
use dockhost::broker::streams::{self, LEADER_BUCKET, LEADER_KEY, LEADER_STREAM, StreamOptions};
use dockhost::leader::election::{Election, LeaseHeld, TermEnd};
use dockhost::leader::fitness::Fitness;
use dockhost_projections::MongoStore;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::harness::wait::DEADLINE;
use crate::harness::{Mongo, Nats, wait_until};

/// A small log on one node.
const OPTIONS: StreamOptions = StreamOptions { replicas: Some(1), max_bytes: 1 << 20 };

/// Holds the lease; returns the error when another holds it.
async fn hold(js: Context, bucket: Store, name: &'static str) -> LeaseHeld {
    let election = Election::new(js, bucket, name.to_owned());
    election.run_holding_lease(pending::<()>()).await.expect_err("the work never ends")
}

/// The lease's holder and revision.
async fn lease(js: &Context) -> Result<(String, u64), String> {
    let bucket = js.get_key_value(LEADER_BUCKET).await.map_err(|error| error.to_string())?;
    let entry = bucket.entry(LEADER_KEY).await.map_err(|error| error.to_string())?.ok_or("no lease")?;
    Ok((String::from_utf8(entry.value.to_vec()).unwrap(), entry.revision))
}

/// Revisions begin anew as well, so the former leader's expectation may hold by accident. One of the two must lose.
#[tokio::test]
async fn lease_stream_that_begins_anew_has_one_holder_in_the_end() {
    let nats = Nats::start().await;
    let js = nats.main().await.jetstream().clone();
    streams::ensure(&js, &OPTIONS).await.unwrap();
    let bucket = js.get_key_value(LEADER_BUCKET).await.unwrap();
    let mut former = tokio::spawn(hold(js.clone(), bucket.clone(), "former"));
    wait_until("the former leader has renewed the lease", DEADLINE, async || match lease(&js).await? {
        (_, revision) if revision >= 2 => Ok(()),
        lease => Err(format!("{lease:?}")),
    })
    .await;
    js.delete_stream(LEADER_STREAM).await.unwrap();
    let mut other = tokio::spawn(hold(js.clone(), bucket, "other"));
    // The loser waits for a whole lease before it says so.
    let loser = tokio::time::timeout(2 * DEADLINE, async {
        tokio::select! {
            lost = &mut former => (lost.unwrap(), "other"),
            lost = &mut other => (lost.unwrap(), "former"),
        }
    });
    let (error, holder) = loser.await.expect("both hold the lease");
    assert!(error.to_string().contains(holder), "{error}");
    let (now, revision) = lease(&js).await.unwrap();
    assert_eq!(now, holder);
    wait_until("the holder renews it", Duration::from_secs(20), async || match lease(&js).await? {
        (name, later) if name == holder && later > revision => Ok(()),
        lease => Err(format!("{lease:?}")),
    })
    .await;
    former.abort();
    other.abort();
}

/// Earlier releases kept the lease on disk.
#[tokio::test]
async fn lease_on_disk_is_moved_to_memory_while_a_server_holds_it() {
    let nats = Nats::start().await;
    let js = nats.main().await.jetstream().clone();
    streams::ensure(&js, &OPTIONS).await.unwrap();
    let in_memory = js.get_stream(LEADER_STREAM).await.unwrap().cached_info().config.clone();
    assert_eq!(in_memory.storage, StorageType::Memory);
    js.delete_stream(LEADER_STREAM).await.unwrap();
    js.create_stream(Config { storage: StorageType::File, ..in_memory.clone() }).await.unwrap();
    let bucket = js.get_key_value(LEADER_BUCKET).await.unwrap();
    let former = tokio::spawn(hold(js.clone(), bucket, "former"));
    wait_until("the server holds the lease", DEADLINE, async || lease(&js).await.map(drop)).await;
    streams::ensure(&js, &OPTIONS).await.unwrap();
    assert_eq!(js.get_stream(LEADER_STREAM).await.unwrap().cached_info().config.storage, StorageType::Memory);
    wait_until("the server holds the lease in the new stream", DEADLINE, async || lease(&js).await.map(drop)).await;
    former.abort();
}

/// Runs for the lease as a server does; leads until it is aborted.
async fn lead(js: Context, bucket: Store, name: &'static str) {
    let mongo = Mongo::shared().await;
    let store = MongoStore::connect(&mongo.uri, &mongo.database).await.unwrap();
    let fitness = Fitness::new(store, js.client(), "any".to_owned().into());
    let end = TermEnd { resign: CancellationToken::new(), cancel: CancellationToken::new() };
    Election::new(js, bucket, name.to_owned()).run(fitness, end, |over| async move { over.cancelled().await }).await;
}

/// A broker on which a lease never expires.
async fn endless_lease() -> (Nats, Context, Store) {
    let nats = Nats::start().await;
    let js = nats.main().await.jetstream().clone();
    streams::ensure(&js, &OPTIONS).await.unwrap();
    let config = js.get_stream(LEADER_STREAM).await.unwrap().cached_info().config.clone();
    js.update_stream(&Config { max_age: Duration::ZERO, ..config }).await.unwrap();
    let bucket = js.get_key_value(LEADER_BUCKET).await.unwrap();
    (nats, js, bucket)
}

/// In this test a lease never expires. The attempt to acquire it was stored, and its answer was lost.
#[tokio::test]
async fn lease_that_is_the_replica_s_own_is_taken_up_again() {
    let (_nats, js, bucket) = endless_lease().await;
    bucket.create(LEADER_KEY, "own".into()).await.unwrap();
    let own = tokio::spawn(lead(js.clone(), bucket, "own"));
    wait_until("the replica renews its lease", DEADLINE, async || match lease(&js).await? {
        (_, revision) if revision > 2 => Ok(()),
        lease => Err(format!("{lease:?}")),
    })
    .await;
    own.abort();
}

/// In this test a lease never expires.
#[tokio::test]
async fn lease_of_a_killed_leader_is_taken_away_and_that_of_a_busy_one_is_not() {
    let (nats, js, bucket) = endless_lease().await;

    // It is connected, but does not renew the lease.
    let busy = nats.main().await;
    let mut questions = busy.client().subscribe("dockhost.replica.busy").await.unwrap();
    busy.client().flush().await.unwrap();
    bucket.create(LEADER_KEY, "busy".into()).await.unwrap();
    let other = tokio::spawn(lead(js.clone(), bucket.clone(), "other"));
    for _ in 0..3 {
        let question = questions.next().await.unwrap();
        busy.client().publish(question.reply.unwrap(), "".into()).await.unwrap();
        assert_eq!(lease(&js).await.unwrap().0, "busy");
    }
    drop((questions, busy));
    wait_until("the other one leads", DEADLINE, async || match lease(&js).await {
        Ok((holder, revision)) if holder == "other" && revision > 2 => Ok(()),
        lease => Err(format!("{lease:?}")),
    })
    .await;
    other.abort();
}
