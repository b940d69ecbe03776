//! The age of the last acknowledged write shows that a broker can't store, although it answers reads.

use std::sync::Arc;
use std::time::Duration;

use dockhost::broker::connect::Broker;
use dockhost::broker::streams::PROBE;
use dockhost::broker::write_probe;
use dockhost::broker::write_proof::WriteProof;
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::JetStreamLog;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::event_log::world::{at, master, options, sign_in, user};
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, wait_until};

/// No probe takes so long on a broker that stores.
const OLD: Duration = Duration::from_secs(5);

/// A replica's proof and its probe.
struct Probed {
    log: JetStreamLog,
    _probe: DropGuard,
}

impl Probed {
    async fn start(broker: Broker) -> Self {
        let log = JetStreamLog::open(broker.client().clone(), master(1), options()).await.unwrap();
        let cancel = CancellationToken::new();
        tokio::spawn(write_probe::run(broker, Arc::clone(log.write_proof()), cancel.clone()));
        Self { log, _probe: cancel.drop_guard() }
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn(Duration) -> bool) {
        wait_until(what, 2 * DEADLINE, async || {
            let age = self.log.write_proof().age();
            if is_so(age) { Ok(()) } else { Err(format!("{age:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn write_proof_is_recorded_by_each_append() {
    let nats = Nats::start().await;
    let log = nats.log().await;
    let proof: &WriteProof = log.write_proof();
    for _ in 0..3 {
        let began = Instant::now();
        log.append(at(0, &sign_in(user()))).await.unwrap();
        assert!(proof.age() <= began.elapsed());
    }
}

#[tokio::test]
async fn write_proof_of_an_idle_replica_ages_only_while_the_broker_is_away() {
    let mut nats = Nats::start().await;
    let replica = Probed::start(nats.main().await).await;
    let js = nats.main().await.jetstream().clone();
    wait_until("the probe has written twice", DEADLINE, async || {
        let state = js.get_stream(PROBE).await.unwrap().cached_info().state.clone();
        if state.last_sequence >= 2 && state.messages == 1 { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    nats.kill().await;
    replica.wait_until("the proof is old", |age| age > OLD).await;
    nats.restart().await;
    replica.wait_until("the proof is young again", |age| age < OLD).await;
}

#[tokio::test]
async fn write_proof_on_the_smaller_side_of_a_partition_ages_although_reads_are_answered() {
    let nats = Nats::cluster_with_proxied_routes().await;
    drop(Probed::start(nats.main().await).await);
    // The node that answers questions about the log for some seconds more.
    let isolated = nats.leader_of("EVENTS").await;
    let minority = Probed::start(nats.main_of(isolated).await).await;
    let majority = Probed::start(nats.main_of((isolated + 1) % 3).await).await;
    nats.isolate(isolated);
    minority.wait_until("the proof is old", |age| age > OLD).await;
    // Once they have elected other leaders of the streams.
    majority.wait_until("the others store", |age| age < OLD).await;
    nats.rejoin(isolated);
    minority.wait_until("the proof is young again", |age| age < OLD).await;
}
