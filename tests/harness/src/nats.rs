//! A broker for one test, of one node or three: real nats-servers with the project's `nats.conf` and new keys.
//!
//! Each node has a fixed address and store, so it can be killed, paused and restarted as itself. The routes between
//! nodes can use proxies, one for each pair and direction.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dockhost::broker::connect::Broker;
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost::dev::secrets::GeneratedSecrets;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use dockhost_domain::subject::BARRIER;
use futures::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::hosts::{self, Host, Store};
use super::pause::{pause, resume};
use super::proxy::Proxy;
use super::wait::DEADLINE;
use super::{Hosts, Monitor, ports, wait_until};

const CONFIG: &str = include_str!("../../../nats.conf");
const CLUSTER: &str = include_str!("../../../nats-cluster.conf");
const CONFIG_FILE: &str = "nats.conf";
const WEBSOCKET_LISTEN: &str = "DOCKHOST_NATS_WEBSOCKET_LISTEN";
const SYNCED: &str = "sync_interval: always";
/// The longest until a killed node has read its streams.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// The longest until a write is acknowledged if it can be.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(3);
const NODES: usize = 3;

/// Running nats-servers, killed on drop.
pub struct Nats {
    // Dropped first, so that no node writes into a removed directory.
    nodes: Vec<Node>,
    /// By connecting node and target node.
    proxies: BTreeMap<(usize, usize), Proxy>,
    pub secrets: GeneratedSecrets,
    pub data: TempDir,
}

struct Node {
    program: Program,
    address: SocketAddr,
    child: Option<Child>,
    store: Store,
    host: Host,
}

impl Nats {
    /// Starts one node.
    pub async fn start() -> Self {
        Self::with(GeneratedSecrets::generate().unwrap()).await
    }

    /// Starts one node on a host of its own.
    pub async fn start_on(hosts: Option<&Arc<Hosts>>) -> Self {
        let mut nats = Self::empty();
        let host = Host::on(hosts, "nats-0");
        nats.add("", (host.address(), ports::free()).into(), host, "").await;
        nats.restart().await;
        nats
    }

    /// Starts one node with an empty store and the keys of an earlier installation.
    pub async fn with(secrets: GeneratedSecrets) -> Self {
        let mut nats = Self { secrets, ..Self::empty() };
        nats.add_local("", "").await;
        nats.restart().await;
        nats
    }

    /// Starts one node that clients reach over WebSocket too, at the URL that is returned.
    pub async fn with_websocket() -> (Self, String) {
        let mut nats = Self::empty();
        nats.add_local("", "").await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        nats.nodes[0].program.env.push((WEBSOCKET_LISTEN, format!("\"{address}\"")));
        nats.restart().await;
        (nats, format!("ws://{address}"))
    }

    /// Starts one node that acknowledges before it syncs to disk, which is much faster. For seeding; call
    /// [`Nats::reopen`] afterwards.
    pub async fn start_unsynced() -> Self {
        let mut nats = Self::empty();
        nats.add_local("", "").await;
        let unsynced = CONFIG.replace(SYNCED, "sync_interval: \"2m\"");
        assert_ne!(unsynced, CONFIG, "nats.conf has another sync_interval");
        std::fs::write(nats.directory("").join(CONFIG_FILE), unsynced).unwrap();
        nats.restart().await;
        nats
    }

    /// Starts one node with a changed configuration.
    pub async fn with_config(change: impl FnOnce(&str) -> String) -> Self {
        let mut nats = Self::empty();
        nats.add_local("", "").await;
        std::fs::write(nats.directory("").join(CONFIG_FILE), change(CONFIG)).unwrap();
        nats.restart().await;
        nats
    }

    /// Stops the node gracefully and restarts it with the normal configuration, address and store.
    pub async fn reopen(&mut self) {
        if let Some(child) = self.nodes[0].child.take() {
            child.stop(RECOVERY_DEADLINE).await;
        }
        std::fs::write(self.directory("").join(CONFIG_FILE), CONFIG).unwrap();
        self.restart().await;
    }

    /// Starts a cluster of three nodes; its streams become available a moment later.
    pub async fn cluster() -> Self {
        Self::cluster_on(None).await
    }

    /// The same with empty stores and the keys of an earlier installation.
    pub async fn cluster_with(secrets: GeneratedSecrets) -> Self {
        let mut nats = Self { secrets, ..Self::empty() };
        nats.add_cluster(None).await;
        nats.restart().await;
        nats
    }

    /// The same with a host for each node.
    pub async fn cluster_on(hosts: Option<&Arc<Hosts>>) -> Self {
        let mut nats = Self::stopped_cluster_on(hosts).await;
        nats.restart().await;
        nats
    }

    /// Prepares a cluster without starting a node; [`Nats::restart_node`] starts one.
    pub async fn stopped_cluster() -> Self {
        Self::stopped_cluster_on(None).await
    }

    async fn stopped_cluster_on(hosts: Option<&Arc<Hosts>>) -> Self {
        let mut nats = Self::empty();
        nats.add_cluster(hosts).await;
        nats
    }

    async fn add_cluster(&mut self, hosts: Option<&Arc<Hosts>>) {
        let nodes: Vec<Host> = (0..NODES).map(|n| Host::on(hosts, &format!("nats-{n}"))).collect();
        let routes: Vec<SocketAddr> = nodes.iter().map(|host| (host.address(), ports::free()).into()).collect();
        for (n, (own, host)) in routes.iter().zip(nodes).enumerate() {
            let peers = routes.iter().copied().filter(|peer| peer != own);
            let address = (host.address(), ports::free()).into();
            self.add(&format!("-{n}"), address, host, &cluster(*own, peers, "")).await;
        }
    }

    /// Starts a cluster with a proxy in each route, so that nodes can be isolated.
    pub async fn cluster_with_proxied_routes() -> Self {
        let routes = Self::routes();
        let mut nats = Self::empty();
        for (n, peer) in (0..NODES).flat_map(|n| (0..NODES).map(move |peer| (n, peer))).filter(|(n, peer)| n != peer) {
            nats.proxies.insert((n, peer), Proxy::to(routes[peer]).await);
        }
        for (n, own) in routes.iter().enumerate() {
            let peers: Vec<_> =
                nats.proxies.iter().filter(|((from, _), _)| *from == n).map(|(_, cable)| cable.address()).collect();
            // Nodes advertise their address to each other. An unused address prevents routes that bypass a proxy.
            nats.add_local(&format!("-{n}"), &cluster(*own, peers.into_iter(), "advertise: \"127.0.0.1:1\"")).await;
        }
        nats.restart().await;
        nats
    }

    fn routes() -> Vec<SocketAddr> {
        (0..NODES).map(|_| (Ipv4Addr::LOCALHOST, ports::free()).into()).collect()
    }

    fn empty() -> Self {
        let (secrets, data) = (GeneratedSecrets::generate().unwrap(), tempfile::tempdir().unwrap());
        Self { nodes: vec![], proxies: BTreeMap::new(), secrets, data }
    }

    /// The directory of a node.
    fn directory(&self, suffix: &str) -> PathBuf {
        self.data.path().join(format!("nats{suffix}"))
    }

    async fn add_local(&mut self, suffix: &str, cluster: &str) {
        self.add(suffix, (Ipv4Addr::LOCALHOST, ports::free()).into(), Host::local(), cluster).await;
    }

    async fn add(&mut self, suffix: &str, address: SocketAddr, host: Host, cluster: &str) {
        let binary = fetch::find(&fetch::NATS_SERVER, &super::target_tmp()).await.unwrap();
        let directory = self.directory(suffix);
        let name = format!("dockhost{suffix}");
        let store = host.store(&directory.join("store"));
        let mut program = describe(&binary, &directory, &name, address, cluster);
        program.env.push(("DOCKHOST_NATS_STORE", format!("{:?}", store.path)));
        program.env.extend(self.secrets.broker_env().unwrap());
        self.nodes.push(Node { program: host.place(program), address, child: None, store, host });
    }

    /// The client URL, with all nodes of a cluster.
    pub fn url(&self) -> String {
        self.nodes.iter().map(|node| format!("nats://{}", node.address)).collect::<Vec<_>>().join(",")
    }

    /// The client URL of one node.
    pub fn url_of(&self, node: usize) -> String {
        format!("nats://{}", self.nodes[node].address)
    }

    /// The first node's address.
    pub fn address(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// The nodes' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Connects as the main server.
    pub async fn main(&self) -> Broker {
        self.main_at(&self.url()).await
    }

    /// Opens the log as a server does.
    pub async fn log(&self) -> JetStreamLog {
        let (_, master) =
            self.secrets.server_env().into_iter().find(|(name, _)| *name == "DOCKHOST_MASTER_KEY").unwrap();
        let client = self.main().await.client().clone();
        JetStreamLog::open(client, master.parse().unwrap(), LogOptions::default()).await.unwrap()
    }

    /// The ids of running processes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.child.as_ref()?.pid()).collect()
    }

    /// Connects to one node as the main server.
    pub async fn main_of(&self, node: usize) -> Broker {
        self.main_at(&self.url_of(node)).await
    }

    async fn main_at(&self, url: &str) -> Broker {
        Broker::connect(url, &self.secrets.nats, "test", DEADLINE).await.unwrap()
    }

    /// Waits for a stream's leader.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let broker = self.main().await;
        wait_until(&format!("{stream} has a leader"), RECOVERY_DEADLINE, async || {
            let found = broker.jetstream().get_stream(stream).await.map_err(|error| error.to_string())?;
            let leader = found.cached_info().cluster.clone().and_then(|cluster| cluster.leader);
            let leader = leader.ok_or_else(|| "no leader".to_owned())?;
            leader.rsplit('-').next().and_then(|n| n.parse().ok()).ok_or(leader)
        })
        .await
    }

    /// Makes the node that leads the cluster's metadata lead a stream as well: cut off, it answers longest.
    pub async fn lead_by_meta_leader(&self, stream: &str) -> usize {
        let monitor = Monitor::of(self).await;
        wait_until(&format!("the metadata's leader leads {stream}"), RECOVERY_DEADLINE, async || {
            let meta = monitor.meta_leader().await.ok_or("the metadata has no leader")?;
            let node = meta.rsplit('-').next().and_then(|n| n.parse().ok()).ok_or("another name")?;
            self.move_leader(stream, node).await.map(|()| node)
        })
        .await
    }

    /// Makes a node lead a stream.
    pub async fn lead_by(&self, stream: &str, node: usize) {
        let what = format!("node {node} leads {stream}");
        wait_until(&what, RECOVERY_DEADLINE, async || self.move_leader(stream, node).await).await;
    }

    /// Makes a node lead a consumer.
    pub async fn lead_consumer_by(&self, stream: &str, consumer: &str, node: usize) {
        let (broker, wanted) = (self.main().await, format!("dockhost-{node}"));
        wait_until(&format!("{wanted} leads {consumer}"), RECOVERY_DEADLINE, async || {
            let found = broker.jetstream().get_stream(stream).await.map_err(|error| error.to_string())?;
            let found = found.consumer_info(consumer).await.map_err(|error| error.to_string())?;
            let leader = found.cluster.and_then(|cluster| cluster.leader).ok_or("no leader")?;
            if leader == wanted {
                return Ok(());
            }
            self.step_down(&format!("CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}"), &wanted).await;
            Err(format!("{leader} leads"))
        })
        .await;
    }

    /// Asks for another leader unless this node leads; the next attempt checks the result.
    async fn move_leader(&self, stream: &str, node: usize) -> Result<(), String> {
        let leader = self.leader_of(stream).await;
        if leader == node {
            return Ok(());
        }
        self.step_down(&format!("STREAM.LEADER.STEPDOWN.{stream}"), &format!("dockhost-{node}")).await;
        Err(format!("node {leader} leads"))
    }

    async fn step_down(&self, subject: &str, successor: &str) {
        let request = serde_json::json!({ "placement": { "preferred": successor } });
        let _: Result<serde_json::Value, _> = self.main().await.jetstream().request(subject.to_owned(), &request).await;
    }

    /// Lets a node's copy of a stream take nothing more, as after a full disk, so that nats-server does not disable the
    /// node's JetStream. The node needs a disk of its own.
    pub fn break_copy(&self, node: usize, stream: &str) {
        hosts::cover(&self.messages_of(node, stream));
    }

    fn messages_of(&self, node: usize, stream: &str) -> PathBuf {
        self.nodes[node].store.path.join("jetstream/MAIN/streams").join(stream).join("msgs")
    }

    /// The process id of a running node.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].child.as_ref().and_then(Child::pid)
    }

    /// Kills all nodes with SIGKILL.
    pub async fn kill(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill_node(node).await;
        }
    }

    /// Kills running nodes, and starts all at once at the same addresses with the same stores.
    pub async fn restart(&mut self) {
        self.kill().await;
        join_all(self.nodes.iter_mut().map(Node::start)).await;
    }

    /// Removes the messages from each node's copy of a stream, as a power cut does with what was not synced; what the
    /// nodes have agreed on stays. All nodes must be down.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn lose_messages_of(&self, stream: &str) {
        for node in 0..self.nodes.len() {
            let messages = self.messages_of(node, stream);
            std::fs::remove_dir_all(&messages).unwrap();
            std::fs::create_dir(&messages).unwrap();
        }
    }

    /// Kills one node with SIGKILL.
    pub async fn kill_node(&mut self, node: usize) {
        if let Some(child) = self.nodes[node].child.take() {
            child.kill().await;
        }
    }

    /// Stops one node as a deployment does.
    pub async fn stop_node(&mut self, node: usize) {
        if let Some(child) = self.nodes[node].child.take() {
            child.stop(RECOVERY_DEADLINE).await;
        }
    }

    /// The nodes' logs.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.program.log.clone()).collect()
    }

    /// A node's host.
    pub fn host(&self, node: usize) -> &Host {
        &self.nodes[node].host
    }

    /// A node's store.
    pub fn store(&self, node: usize) -> &Store {
        &self.nodes[node].store
    }

    /// Restarts a node.
    pub async fn restart_node(&mut self, node: usize) {
        self.kill_node(node).await;
        self.nodes[node].start().await;
    }

    /// Pauses a node until [`Nats::resume_node`].
    pub async fn pause_node(&mut self, node: usize) {
        pause(self.nodes[node].child.as_mut().unwrap()).await;
    }

    pub async fn resume_node(&mut self, node: usize) {
        resume(self.nodes[node].child.as_mut().unwrap()).await;
    }

    /// The proxies of a node's routes, in both directions.
    pub fn proxies_of(&self, node: usize) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().filter(move |((from, to), _)| *from == node || *to == node).map(|(_, cable)| cable)
    }

    /// Isolates a node from the others; clients still reach it.
    pub fn isolate(&self, node: usize) {
        self.proxies_of(node).for_each(Proxy::cut);
    }

    /// Isolates a node from the others as a lost network does: no connection is closed.
    pub fn isolate_silently(&self, node: usize) {
        self.proxies_of(node).for_each(Proxy::half_open);
    }

    /// Whether a node acknowledges no write to EVENTS.
    pub async fn is_cut_off(&self, node: usize) -> bool {
        let broker = self.main_of(node).await;
        let stored = async { broker.jetstream().publish(BARRIER, "".into()).await?.await };
        !matches!(tokio::time::timeout(ACKNOWLEDGED_WITHIN, stored).await, Ok(Ok(_)))
    }

    /// Ends [`Nats::isolate`] and [`Nats::isolate_silently`].
    pub fn rejoin(&self, node: usize) {
        for proxy in self.proxies_of(node) {
            // Connections that lost bytes are of no use.
            proxy.cut();
            proxy.heal();
        }
    }
}

impl Node {
    async fn start(&mut self) {
        let mut child = self.program.clone().start().unwrap();
        child.wait_until_ready(RECOVERY_DEADLINE, async |_| TcpStream::connect(self.address).await.ok()).await.unwrap();
        self.child = Some(child);
    }
}

/// The program of one node, without its keys.
fn describe(binary: &Path, directory: &Path, name: &str, address: SocketAddr, cluster: &str) -> Program {
    std::fs::create_dir_all(directory).unwrap();
    let config = directory.join(CONFIG_FILE);
    std::fs::write(&config, format!("{CONFIG}\n{cluster}")).unwrap();
    Program {
        name: "nats-server",
        path: binary.to_owned(),
        args: vec!["-c".into(), config.into()],
        env: vec![
            ("DOCKHOST_NATS_NAME", name.to_owned()),
            ("DOCKHOST_NATS_LISTEN", format!("\"{address}\"")),
            // Port 0: off.
            (WEBSOCKET_LISTEN, "\"127.0.0.1:0\"".to_owned()),
        ],
        log: directory.join("nats.log"),
    }
}

/// The cluster block of a node's configuration, as in production. Nodes are not advertised to clients, so that none bypasses
/// its proxy.
fn cluster(listen: SocketAddr, peers: impl Iterator<Item = SocketAddr>, options: &str) -> String {
    let peers: Vec<_> = peers.map(|peer| format!("\"nats://{peer}\"")).collect();
    let (_, block) = CLUSTER.split_once("include ./nats.conf").unwrap();
    block
        .replace("$DOCKHOST_NATS_CLUSTER_LISTEN", &format!("\"{listen}\""))
        .replace("$DOCKHOST_NATS_ROUTES", &format!("[{}]\n{options}", peers.join(", ")))
}
