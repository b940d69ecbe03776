//! Three nodes: what a single one cannot show.

use std::collections::BTreeSet;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::Config;
use dockhost::broker::streams::EVENTS;
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::{AppendError, EventLog, Filter};
use dockhost_domain::ids::PrincipalId;
use futures::future::join_all;

use super::world::{Reader, at, master, options, sequences, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::{Nats, wait_until};

/// Replicas of the server, each connected to one node or another; when that dies, they move on.
async fn logs(nats: &Nats) -> Vec<JetStreamLog> {
    let open = async |_| JetStreamLog::open(nats.main().await.client().clone(), master(1), options()).await.unwrap();
    join_all((0..3).map(open)).await
}

async fn copies(nats: &Nats, stream: &str) -> usize {
    nats.main().await.jetstream().get_stream(stream).await.unwrap().cached_info().config.num_replicas
}

/// While a node has never been there, the broker would make streams of two copies; they would keep them for ever.
#[tokio::test]
async fn a_cluster_that_lacks_a_node_is_waited_for() {
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
        wait_until("the two are a cluster that lacks the third", 2 * DEADLINE, async || {
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
        assert_eq!(copies(&nats, stream).await, 3, "{stream}");
    }
}

#[tokio::test]
async fn on_three_nodes_every_race_has_one_winner() {
    let nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    assert_eq!(copies(&nats, EVENTS).await, 3);
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
                // All or nothing: who lost the contested half has no account either.
                Err(AppendError::Conflict) => assert_eq!(sequences(&account), [0; 0], "round {round}"),
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
        assert_eq!(logs[1].load(sign_in(contested).aggregate, 0).await.unwrap().len(), 1, "round {round}");
    }
}

/// Whoever makes a key while another replica does must not take the other's for a fault of the broker.
#[tokio::test]
async fn on_three_nodes_all_who_make_a_key_at_once_get_one() {
    let nats = Nats::cluster().await;
    let logs = logs(&nats).await;
    for round in 0..30 {
        let person = PrincipalId::from(user());
        let makers = (0..9).map(|n| logs[n % 3].keyring().for_sealing(person));
        let keys = join_all(makers).await.into_iter().collect::<Result<Vec<_>, _>>();
        let keys = keys.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        let sealed = keys[0].seal(b"", b"x".to_vec()).unwrap();
        assert!(keys.iter().all(|key| key.open(b"", &sealed).is_some_and(|text| text == b"x")), "round {round}");
    }
}

#[tokio::test]
async fn the_death_of_the_leader_loses_nothing_and_stops_no_reader() {
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
        // While a new leader is elected an append may end without an answer; the next try settles the same event.
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
