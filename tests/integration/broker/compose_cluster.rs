//! The three brokers of `docker-compose.yml`, started as processes with its files, commands and variables: they form a
//! cluster, keep three copies, and survive the loss of one.

use std::path::PathBuf;
use std::time::Duration;

use dockhost::backup::import::{ImportOptions, KeySource, import};
use dockhost::backup::{check, keys};
use dockhost::broker::connect::Broker;
use dockhost::broker::streams::{EVENTS, KEYS_BUCKET};
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost::dev::secrets::GeneratedSecrets;
use dockhost::event_log::EventLog;
use dockhost::event_log::jetstream::JetStreamLog;
use serde_json::Value;
use tempfile::TempDir;

use crate::backup::{export_to, log_of, stored};
use crate::event_log::world::{at, master, options, sign_in, user};
use crate::harness::{ports, target_tmp, wait_until};
use crate::structure::{compose, root};

/// The longest that a cluster takes to form on a busy machine.
const CLUSTER_DEADLINE: Duration = Duration::from_secs(60);
const NODES: [&str; 3] = ["nats-1", "nats-2", "nats-3"];

struct Brokers {
    nodes: Vec<Child>,
    clients: [u16; 3],
    monitors: [u16; 3],
    secrets: GeneratedSecrets,
    // Dropped last, so that no node writes into a removed directory.
    _data: TempDir,
}

fn free_ports() -> [u16; 3] {
    [(); 3].map(|()| ports::free())
}

impl Brokers {
    async fn start() -> Self {
        let program = fetch::find(&fetch::NATS_SERVER, &target_tmp()).await.unwrap();
        let (data, secrets) = (tempfile::tempdir().unwrap(), GeneratedSecrets::generate().unwrap());
        let (clients, routes, monitors) = (free_ports(), free_ports(), free_ports());
        let compose = compose::compose();
        let nodes = (0..3).map(|n| {
            let service = &compose["services"][NODES[n]];
            let directory = data.path().join(NODES[n]);
            std::fs::create_dir_all(&directory).unwrap();
            let here = |value: &str| match value {
                r#""0.0.0.0:4222""# => format!("\"127.0.0.1:{}\"", clients[n]),
                r#""0.0.0.0:6222""# => format!("\"127.0.0.1:{}\"", routes[n]),
                r#""0.0.0.0:8080""# => format!("\"127.0.0.1:{}\"", ports::free()),
                r#""/data""# => format!("{:?}", directory.join("store")),
                list => (0..3).fold(list.to_owned(), |list, n| {
                    list.replace(&format!("{}:6222", NODES[n]), &format!("127.0.0.1:{}", routes[n]))
                }),
            };
            let keys = secrets.broker_env().unwrap();
            let env = service["environment"].as_object().unwrap().iter().map(|(name, value)| {
                let (value, name) = (value.as_str().unwrap(), &*name.clone().leak());
                match value.strip_prefix("${").and_then(|rest| rest.split_once(":?")) {
                    Some((variable, _)) => (name, keys.iter().find(|(known, _)| *known == variable).unwrap().1.clone()),
                    None => (name, here(value)),
                }
            });
            Program {
                name: "nats-server",
                path: program.clone(),
                args: arguments(service, monitors[n]),
                env: env.collect(),
                log: directory.join("nats.log"),
            }
            .start()
            .unwrap()
        });
        Self { nodes: nodes.collect(), clients, monitors, secrets, _data: data }
    }

    async fn connect(&self) -> Broker {
        let urls = self.clients.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
        Broker::connect(&urls, &self.secrets.nats, "test", CLUSTER_DEADLINE).await.unwrap()
    }
}

/// The service's command with local paths of the mounted files and a local monitoring port.
fn arguments(service: &Value, monitor: u16) -> Vec<std::ffi::OsString> {
    let mounted = |path: &str| -> Option<PathBuf> {
        let volumes = service["volumes"].as_array().unwrap().iter().map(|volume| volume.as_str().unwrap());
        let file =
            volumes.filter_map(|volume| volume.split_once(':')).find(|(_, to)| to.trim_end_matches(":ro") == path);
        file.map(|(file, _)| root().join(file.trim_start_matches("./")))
    };
    // nats-cluster.conf includes nats.conf from the same directory.
    assert!(mounted("/etc/nats/nats.conf").is_some());
    let words = service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    words
        .map(|word| match (mounted(word), word) {
            (Some(file), _) => file.into(),
            (None, "8222") => monitor.to_string().into(),
            (None, other) => other.into(),
        })
        .collect()
}

#[tokio::test]
async fn compose_brokers_form_a_cluster_that_survives_a_lost_node() {
    let mut brokers = Brokers::start().await;
    dockhost::common::install_crypto();
    let http = reqwest::Client::new();
    for port in brokers.monitors {
        // The request of the health check.
        wait_until("the node is healthy", CLUSTER_DEADLINE, async || {
            let answer = http.get(format!("http://127.0.0.1:{port}/healthz")).send().await;
            let answer = answer.and_then(reqwest::Response::error_for_status);
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
    let js = brokers.connect().await.jetstream().clone();

    // An import into the cluster keeps the order of events.
    let source = log_of(1500).await;
    let directory = tempfile::tempdir().unwrap();
    export_to(&source, directory.path(), 1000).await;
    let manifest = check::finished(directory.path()).unwrap();
    let order = ImportOptions {
        keys: KeySource::Export(keys::read(directory.path(), manifest.keys.as_ref().unwrap()).unwrap()),
        directory: directory.path().to_owned(),
        manifest,
        streams: options().streams,
    };
    assert_eq!(import(&js, order, &mut |_, _, _| {}).await.unwrap(), 1500);
    let original = stored(&async_nats::jetstream::new(source.client.clone())).await;
    assert!(original.iter().zip(&stored(&js).await).all(|(before, after)| before.same_event(after)));
    for stream in [EVENTS, &format!("KV_{KEYS_BUCKET}")] {
        assert_eq!(js.get_stream(stream).await.unwrap().cached_info().config.num_replicas, 3, "{stream}");
    }

    let log = JetStreamLog::open(js.client(), master(1), options()).await.unwrap();
    brokers.nodes.remove(0).kill().await;
    let event = sign_in(user());
    let sequence = wait_until("the other two nodes accept an event", CLUSTER_DEADLINE, async || {
        log.append(at(0, &event)).await.map_err(|error| format!("{error:?}"))
    })
    .await;
    assert_eq!(sequence, 1501);
}
