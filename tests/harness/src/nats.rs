//! A broker of the test's own, of one node or of three.
//!
//! In: nothing. Out: real nats-servers with the project's `nats.conf`, fresh keys and empty stores. Each node keeps
//! its address and its store, so it can be killed, or paused, and come back as itself. The routes between nodes may go
//! through proxies of ours, one for each direction in which a node connects to another.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dockhost::broker::connect::Broker;
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost::dev::secrets::GeneratedSecrets;
use dockhost::event_log::jetstream::{JetStreamLog, LogOptions};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::pause::{pause, resume};
use super::proxy::Proxy;
use super::wait::DEADLINE;
use super::{ports, wait_until};

const CONFIG: &str = include_str!("../../../nats.conf");
const CONFIG_FILE: &str = "nats.conf";
const SYNCED: &str = "sync_interval: always";
/// A node that was killed reads its streams first.
const PATIENCE: Duration = Duration::from_secs(60);
const NODES: usize = 3;

/// Running nats-servers. Gone when they are dropped.
pub struct Nats {
    // Dropped first: no node may write into a directory that is being removed.
    nodes: Vec<Node>,
    /// By who connects to whom.
    cables: BTreeMap<(usize, usize), Proxy>,
    pub secrets: GeneratedSecrets,
    pub data: TempDir,
}

struct Node {
    program: Program,
    address: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    /// A lone node.
    pub async fn start() -> Self {
        Self::with(GeneratedSecrets::generate().unwrap()).await
    }

    /// A lone node with an empty store, but the keys of an installation that was there before.
    pub async fn with(secrets: GeneratedSecrets) -> Self {
        let mut nats = Self { secrets, ..Self::empty() };
        nats.add("", "").await;
        nats.restart().await;
        nats
    }

    /// The same, but it acknowledges before the disk has it, which is many times as fast: to be filled with a past, and
    /// then [reopened](Self::reopen) as it should be.
    pub async fn start_unsynced() -> Self {
        let mut nats = Self::empty();
        nats.add("", "").await;
        let unsynced = CONFIG.replace(SYNCED, "sync_interval: \"2m\"");
        assert_ne!(unsynced, CONFIG, "nats.conf says it otherwise now");
        std::fs::write(nats.directory("").join(CONFIG_FILE), unsynced).unwrap();
        nats.restart().await;
        nats
    }

    /// Stops a lone node gently, and starts it again as it should be, at the same address with the same store.
    pub async fn reopen(&mut self) {
        if let Some(child) = self.nodes[0].child.take() {
            child.stop(PATIENCE).await;
        }
        std::fs::write(self.directory("").join(CONFIG_FILE), CONFIG).unwrap();
        self.restart().await;
    }

    /// Three nodes that are a cluster, or will be in a moment: who needs its streams waits for them.
    pub async fn cluster() -> Self {
        let mut nats = Self::cluster_to_be().await;
        nats.restart().await;
        nats
    }

    /// The same before any node has been started; [`Nats::restart_node`] starts one.
    pub async fn cluster_to_be() -> Self {
        let routes = Self::routes();
        let mut nats = Self::empty();
        for (n, own) in routes.iter().enumerate() {
            let peers = routes.iter().copied().filter(|peer| peer != own);
            nats.add(&format!("-{n}"), &cluster(*own, peers, "")).await;
        }
        nats
    }

    /// The same with a proxy in each route, so that nodes can be parted from one another.
    pub async fn cluster_with_proxied_routes() -> Self {
        let routes = Self::routes();
        let mut nats = Self::empty();
        for (n, peer) in (0..NODES).flat_map(|n| (0..NODES).map(move |peer| (n, peer))).filter(|(n, peer)| n != peer) {
            nats.cables.insert((n, peer), Proxy::to(routes[peer]).await);
        }
        for (n, own) in routes.iter().enumerate() {
            let peers: Vec<_> =
                nats.cables.iter().filter(|((from, _), _)| *from == n).map(|(_, cable)| cable.address()).collect();
            // Nodes tell each other where others are: to nobody there, so that no route goes around a proxy.
            nats.add(&format!("-{n}"), &cluster(*own, peers.into_iter(), "advertise: \"127.0.0.1:1\"")).await;
        }
        nats.restart().await;
        nats
    }

    fn routes() -> Vec<SocketAddr> {
        (0..NODES).map(|_| (Ipv4Addr::LOCALHOST, ports::free()).into()).collect()
    }

    fn empty() -> Self {
        let (secrets, data) = (GeneratedSecrets::generate().unwrap(), tempfile::tempdir().unwrap());
        Self { nodes: vec![], cables: BTreeMap::new(), secrets, data }
    }

    /// Where a node keeps what it has.
    fn directory(&self, suffix: &str) -> PathBuf {
        self.data.path().join(format!("nats{suffix}"))
    }

    async fn add(&mut self, suffix: &str, cluster: &str) {
        let binary = fetch::find(&fetch::NATS_SERVER, &super::target_tmp()).await.unwrap();
        let address = (Ipv4Addr::LOCALHOST, ports::free()).into();
        let directory = self.directory(suffix);
        let name = format!("dockhost{suffix}");
        let mut node = Node { program: describe(&binary, &directory, &name, address, cluster), address, child: None };
        node.program.env.extend(self.secrets.broker_env().unwrap());
        self.nodes.push(node);
    }

    /// Where clients connect; of a cluster, all nodes.
    pub fn url(&self) -> String {
        self.nodes.iter().map(|node| format!("nats://{}", node.address)).collect::<Vec<_>>().join(",")
    }

    /// Where clients connect to one node.
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

    /// A connection as the main server.
    pub async fn main(&self) -> Broker {
        self.main_at(&self.url()).await
    }

    /// The log on it, as a server opens it.
    pub async fn log(&self) -> JetStreamLog {
        let (_, master) =
            self.secrets.server_env().into_iter().find(|(name, _)| *name == "DOCKHOST_MASTER_KEY").unwrap();
        let client = self.main().await.client().clone();
        JetStreamLog::open(client, master.parse().unwrap(), LogOptions::default()).await.unwrap()
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.child.as_ref()?.pid()).collect()
    }

    /// The same, to one node.
    pub async fn main_of(&self, node: usize) -> Broker {
        self.main_at(&self.url_of(node)).await
    }

    async fn main_at(&self, url: &str) -> Broker {
        Broker::connect(url, &self.secrets.nats, "test", DEADLINE).await.unwrap()
    }

    /// The node that leads a stream, once there is one.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let broker = self.main().await;
        wait_until(&format!("{stream} has a leader"), PATIENCE, async || {
            let found = broker.jetstream().get_stream(stream).await.map_err(|error| error.to_string())?;
            let leader = found.cached_info().cluster.clone().and_then(|cluster| cluster.leader);
            let leader = leader.ok_or_else(|| "no leader".to_owned())?;
            leader.rsplit('-').next().and_then(|n| n.parse().ok()).ok_or(leader)
        })
        .await
    }

    /// A node's process, if it runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].child.as_ref().and_then(Child::pid)
    }

    /// Kills all nodes, as a crash would.
    pub async fn kill(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill_node(node).await;
        }
    }

    /// Kills the nodes that run, and starts all again at the same addresses with the same stores.
    pub async fn restart(&mut self) {
        self.kill().await;
        for node in 0..self.nodes.len() {
            self.restart_node(node).await;
        }
    }

    /// Kills one node, as a crash would.
    pub async fn kill_node(&mut self, node: usize) {
        if let Some(child) = self.nodes[node].child.take() {
            child.kill().await;
        }
    }

    /// Starts a node again that was killed.
    pub async fn restart_node(&mut self, node: usize) {
        self.kill_node(node).await;
        self.nodes[node].start().await;
    }

    /// Has a node stand still, as a machine that hangs; it goes on with [`Nats::resume_node`].
    pub async fn pause_node(&mut self, node: usize) {
        pause(self.nodes[node].child.as_mut().unwrap()).await;
    }

    pub async fn resume_node(&mut self, node: usize) {
        resume(self.nodes[node].child.as_mut().unwrap()).await;
    }

    /// The proxies in the routes of one node, both ways.
    pub fn cables_of(&self, node: usize) -> impl Iterator<Item = &Proxy> {
        self.cables.iter().filter(move |((from, to), _)| *from == node || *to == node).map(|(_, cable)| cable)
    }

    /// Parts a node from the others; clients still reach it.
    pub fn isolate(&self, node: usize) {
        self.cables_of(node).for_each(Proxy::cut);
    }

    /// Ends [`Nats::isolate`].
    pub fn rejoin(&self, node: usize) {
        self.cables_of(node).for_each(Proxy::heal);
    }
}

impl Node {
    async fn start(&mut self) {
        let mut child = self.program.clone().start().unwrap();
        child.wait_until_ready(PATIENCE, async |_| TcpStream::connect(self.address).await.ok()).await.unwrap();
        self.child = Some(child);
    }
}

/// One node, all but its keys.
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
            ("DOCKHOST_NATS_STORE", format!("{:?}", directory.join("store"))),
        ],
        log: directory.join("nats.log"),
    }
}

/// The part of a node's configuration that makes it one of several. Clients are told of no other node: they know what
/// they were given, so that none goes around its proxy.
fn cluster(listen: SocketAddr, peers: impl Iterator<Item = SocketAddr>, more: &str) -> String {
    let peers: Vec<_> = peers.map(|peer| format!("\"nats://{peer}\"")).collect();
    format!(
        "cluster {{\n name: dockhost\n listen: \"{listen}\"\n no_advertise: true\n routes: [{}]\n {more}\n}}\n",
        peers.join(", ")
    )
}
