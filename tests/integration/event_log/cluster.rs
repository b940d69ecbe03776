//! Three nodes: what a single one cannot show.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use async_nats::jetstream;
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost::event_log::jetstream::JetStreamLog;
use dockhost::event_log::streams::EVENTS;
use dockhost::event_log::{AppendError, EventLog, Filter};
use tempfile::TempDir;

use super::world::{Reader, at, master, options, sequences, sign_in, sign_up, user};
use crate::harness::wait::DEADLINE;
use crate::harness::{target_tmp, wait_until};

struct Cluster {
    nodes: Vec<Option<Child>>,
    ports: Vec<u16>,
    // Dropped last: no node may write into a directory that is being removed.
    _data: TempDir,
}

fn free_ports() -> Vec<u16> {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn launch(program: &Path, data: &Path, n: usize, port: u16, routes: &[u16]) -> Child {
    let directory = data.join(format!("n{n}"));
    std::fs::create_dir_all(&directory).unwrap();
    let peers: Vec<_> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let config = format!(
        "server_name: n{n}\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n\
         cluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
        directory.join("store"),
        routes[n],
        peers.join(", "),
    );
    std::fs::write(directory.join("nats.conf"), config).unwrap();
    Program {
        name: "nats-server",
        path: program.to_owned(),
        args: vec!["-c".into(), directory.join("nats.conf").into()],
        env: vec![],
        log: directory.join("nats.log"),
    }
    .start()
    .unwrap()
}

impl Cluster {
    async fn start() -> Self {
        let program = fetch::find(&fetch::NATS_SERVER, &target_tmp()).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let (ports, routes) = (free_ports(), free_ports());
        let nodes = (0..3).map(|n| Some(launch(&program, data.path(), n, ports[n], &routes))).collect();
        Self { nodes, ports, _data: data }
    }

    /// A replica of the server whose client is connected to one node; it may move on to the others.
    async fn log(&self, n: usize) -> JetStreamLog {
        let url = format!("nats://127.0.0.1:{}", self.ports[n]);
        wait_until("the cluster has formed", DEADLINE, async || {
            let client = async_nats::connect(&url).await.map_err(|error| error.to_string())?;
            JetStreamLog::open(client, master(1), options()).await.map_err(|error| format!("{error:?}"))
        })
        .await
    }

    /// The node that leads EVENTS.
    async fn leader(&self) -> usize {
        let mut url = String::new();
        for (node, port) in self.nodes.iter().zip(&self.ports) {
            if node.is_some() {
                url = format!("nats://127.0.0.1:{port}");
            }
        }
        let js = jetstream::new(async_nats::connect(url).await.unwrap());
        let name = wait_until("EVENTS has a leader", DEADLINE, async || {
            let stream = js.get_stream(EVENTS).await.map_err(|error| error.to_string())?;
            let cluster = stream.cached_info().cluster.clone();
            cluster.and_then(|cluster| cluster.leader).ok_or_else(|| "no leader".to_owned())
        })
        .await;
        name.trim_start_matches('n').parse().unwrap()
    }

    async fn kill(&mut self, n: usize) {
        self.nodes[n].take().unwrap().kill().await;
    }
}

#[tokio::test]
async fn on_three_nodes_every_race_has_one_winner() {
    let cluster = Cluster::start().await;
    let logs = [cluster.log(0).await, cluster.log(1).await, cluster.log(2).await];
    let js = jetstream::new(async_nats::connect(format!("nats://127.0.0.1:{}", cluster.ports[0])).await.unwrap());
    assert_eq!(js.get_stream(EVENTS).await.unwrap().cached_info().config.num_replicas, 3);
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
        let outcomes = futures::future::join_all(racers).await;
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

#[tokio::test]
async fn the_death_of_the_leader_loses_nothing_and_stops_no_reader() {
    let mut cluster = Cluster::start().await;
    let logs = [cluster.log(0).await, cluster.log(1).await, cluster.log(2).await];
    let mut readers: Vec<_> = logs.iter().map(|log| Reader(log.follow(0, Filter::All))).collect();
    for reader in &mut readers {
        reader.caught_up().await;
    }
    let leader = cluster.leader().await;
    let writer = logs[(leader + 1) % 3].clone();
    let mut stored = BTreeSet::new();
    for n in 0..60 {
        if n == 20 {
            cluster.kill(leader).await;
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
            assert_eq!(reader.event().await, expected, "the reader on n{n}");
        }
    }
}
