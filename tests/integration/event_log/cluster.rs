//! The log on three nodes.

use std::collections::BTreeSet;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::Config;
use dockhost::broker::streams::EVENTS;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{EventLog, Filter};
use dockhost_domain::ids::PrincipalId;
use futures::future::join_all;

use super::world::{Reader, at, master, options, sequences, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, wait_until};

/// The logs of three replicas of the server. When a node stops, its clients connect to another one.
async fn logs(nats: &Nats) -> Vec<JetStreamLog> {
    let open = async |_| JetStreamLog::open(nats.main().await.client().clone(), master(1), options()).await.unwrap();
    join_all((0..3).map(open)).await
}

async fn replicas(nats: &Nats, stream: &str) -> usize {
    nats.main().await.jetstream().get_stream(stream).await.unwrap().cached_info().config.num_replicas
}

/// While the third node has never joined, the broker would create streams with two replicas, permanently.
#[tokio::test]
async fn streams_ensure_waits_for_a_cluster_that_lacks_a_node() {
    let mut nats = Nats::stopped_cluster().await;
    nats.restart_node(0).await;
    nats.restart_node(1).await;
    let opening = tokio::spawn({
        let client = nats.main_of(0).await.client().clone();
        async move { JetStreamLog::open(client, master(1), options()).await.map(drop) }
    });
    let js = nats.main_of(1).await.jetstream().clone();
    let three = Config { name: "OTHER".to_owned(), num_replicas: 3, ..Config::default() };
    for _ in 0..3 {
        wait_until("two nodes form a cluster that lacks the third", 2 * DEADLINE, async || {
            match js.create_stream(&three).await.unwrap_err().kind() {
                CreateStreamErrorKind::JetStream(reply) if reply.error_code() == ErrorCode::CLUSTER_NO_PEERS => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
    nats.restart_node(2).await;
    opening.await.unwrap().unwrap();
    for stream in [EVENTS, "KV_KEYS", "REPORTS"] {
        assert_eq!(replicas(&nats, stream).await, 3, "{stream}");
    }
}

#[tokio::test]
async fn append_on_three_nodes_every_race_has_one_winner() {
    let nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    assert_eq!(replicas(&nats, EVENTS).await, 3);
    for round in 0..30 {
        let contested = user();
        let racers = (0..9).map(|n| {
            let log = &logs[n % 3];
            let batch = round % 2 == 0;
            async move {
                let own = user();
                let outcome = if batch {
                    log.append_batch(vec![at(0, &sign_up(own)), at(0, &sign_in(contested))]).await
                } else {
                    log.append(at(0, &sign_in(contested))).await
                };
                (own, outcome)
            }
        });
        let outcomes = join_all(racers).await;
        let mut won = 0;
        for (own, outcome) in outcomes {
            let account = logs[0].load(sign_up(own).aggregate, 0).await.unwrap();
            match outcome {
                Ok(_) => won += 1,
                // All or none: without the contested event there is no account either.
                Err(error) if error.is_conflict() => assert_eq!(sequences(&account), [0; 0], "round {round}"),
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
        assert_eq!(logs[1].load(sign_in(contested).aggregate, 0).await.unwrap().len(), 1, "round {round}");
    }
}

/// A create that conflicts with another replica's create of the same key is not an error.
#[tokio::test]
async fn keyring_on_three_nodes_concurrent_creates_return_one_key() {
    let nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    for round in 0..30 {
        let principal = PrincipalId::from(user());
        let creates = (0..9).map(|n| logs[n % 3].keyring().for_sealing(principal));
        let keys = join_all(creates).await.into_iter().collect::<Result<Vec<_>, _>>();
        let keys = keys.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        let sealed = keys[0].seal(b"", b"x".to_vec()).unwrap();
        assert!(keys.iter().all(|key| key.open(b"", &sealed).is_some_and(|text| text == b"x")), "round {round}");
    }
}

#[tokio::test]
async fn log_lost_stream_leader_loses_no_event_and_readers_continue() {
    let mut nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    let mut readers: Vec<_> = logs.iter().map(|log| Reader(log.follow(0, Filter::All))).collect();
    for reader in &mut readers {
        reader.caught_up().await;
    }
    let leader = nats.leader_of(EVENTS).await;
    let writer = logs[(leader + 1) % 3].clone();
    let mut stored = BTreeSet::new();
    for n in 0..60 {
        if n == 20 {
            nats.kill_node(leader).await;
        }
        let event = sign_in(user());
        // During the election an append may have an unknown outcome; the retry resolves it for the same event.
        let sequence =
            wait_until("the append is stored", DEADLINE, async || match writer.append(at(0, &event)).await {
                Ok(sequence) => Ok(sequence),
                Err(error) => Err(format!("{error:?}")),
            })
            .await;
        assert!(stored.insert(sequence), "{sequence} twice");
    }
    assert_eq!(stored, (1..=60).collect());
    for (n, reader) in readers.iter_mut().enumerate() {
        for expected in 1..=60 {
            assert_eq!(reader.event().await, expected, "reader {n}");
        }
    }
}
