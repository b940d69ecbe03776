//! A complete system for one test: broker, database, replicas and agents, all real processes.
//!
//! Each process can be killed, paused and restarted.

mod agents;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dockhost::broker::streams::EVENTS;
use dockhost::common::clock;
use dockhost::dev::process::{Child, Program};
use dockhost_domain::timestamp::Timestamp;
use dockhost_projections::instances::InstanceDocument;
use dockhost_projections::store::MongoStore;
use futures::TryStreamExt;
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use super::hosts::Host;
use super::http::{Answer, Client};
use super::pause::{pause, resume};
use super::topology::Proxies;
use super::{Hosts, Mongo, Mongods, Nats, Topology, log, program, wait_until};

/// The settings of replicas that make an administrator.
pub const ADMIN: [(&str, &str); 2] =
    [("DOCKHOST_ADMIN_USERNAME", "admin"), ("DOCKHOST_ADMIN_PASSWORD", ADMIN_PASSWORD)];
pub const ADMIN_PASSWORD: &str = "battery staple";
/// Longer than a replica's shutdown takes with the default settings.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// The longest until a replica serves that was started together with a broker and a database.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Lines of a log that a failing test prints.
const MAX_WARNINGS: usize = 20;

/// A replica of the main server. Its URL and proxies stay the same when it restarts.
pub struct Replica {
    pub url: String,
    /// The log of the current or last process.
    pub log: PathBuf,
    /// None while it is down.
    pub process: Option<Child>,
    pub proxies: Proxies,
    pub host: Host,
}

/// A registered backend, and its agent if running.
pub struct Agent {
    pub name: String,
    pub key: String,
    pub process: Option<Child>,
    pub proxies: Proxies,
    pub host: Host,
}

/// The system; its processes are killed on drop.
pub struct World {
    // Processes first, so that none writes into a removed directory.
    pub replicas: Vec<Replica>,
    pub agents: Vec<Agent>,
    pub nats: Nats,
    pub mongo: Mongo,
    /// The test's own mongods, if any.
    pub mongods: Option<Mongods>,
    pub data: TempDir,
    /// The hosts of the parts, if each has its own.
    pub hosts: Option<Arc<Hosts>>,
    topology: Topology,
    settings: BTreeMap<&'static str, String>,
    started: usize,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_warnings();
        }
    }
}

impl World {
    /// Starts broker, database and this many replicas.
    pub async fn start(replicas: usize) -> Self {
        Self::with(replicas, &[]).await
    }

    /// The same with other server settings (`("DOCKHOST_MAX_INSTANCES_PER_USER", "5")`).
    pub async fn with(replicas: usize, settings: &[(&'static str, &str)]) -> Self {
        Self::on(Topology::ONE, replicas, settings).await
    }

    /// The same on these servers.
    pub async fn on(topology: Topology, replicas: usize, settings: &[(&'static str, &str)]) -> Self {
        let servers = topology.start(None).await;
        Self::assemble(topology, None, servers, replicas, settings).await
    }

    /// The same with a host for each part, as far as this machine permits. Not for proxies and the shared mongod.
    pub async fn on_hosts(topology: Topology, replicas: usize, settings: &[(&'static str, &str)]) -> Self {
        let hosts = Hosts::prepare();
        let servers = topology.start(Some(&hosts)).await;
        Self::assemble(topology, Some(hosts), servers, replicas, settings).await
    }

    /// The same on an existing broker and its log.
    pub async fn upon(nats: Nats, replicas: usize, settings: &[(&'static str, &str)]) -> Self {
        let servers = (nats, Mongo::shared().await, None);
        Self::assemble(Topology::ONE, None, servers, replicas, settings).await
    }

    async fn assemble(
        topology: Topology,
        hosts: Option<Arc<Hosts>>,
        (nats, mongo, mongods): (Nats, Mongo, Option<Mongods>),
        replicas: usize,
        settings: &[(&'static str, &str)],
    ) -> Self {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let data = tempfile::tempdir().unwrap();
        let mut world = Self {
            replicas: vec![],
            agents: vec![],
            nats,
            mongo,
            mongods,
            data,
            hosts,
            topology,
            settings,
            started: 0,
        };
        for _ in 0..replicas {
            world.add_replica().await;
        }
        world
    }

    /// The logs of all processes since the start.
    pub fn logs(&self) -> Vec<PathBuf> {
        let own =
            std::fs::read_dir(self.data.path()).into_iter().flatten().filter_map(Result::ok).map(|one| one.path());
        let own = own.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let mongods = self.mongods.iter().flat_map(Mongods::logs);
        own.chain(self.nats.logs()).chain(mongods).collect()
    }

    /// The last warnings and errors of the replicas, for a test that fails: its message tells only what a client saw.
    fn print_warnings(&self) {
        for Replica { url, log, .. } in &self.replicas {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let warnings: Vec<_> =
                log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
            let last = &warnings[warnings.len().saturating_sub(MAX_WARNINGS)..];
            eprintln!("the last warnings of {url}:\n{}", last.join("\n"));
        }
    }

    /// The server's program with its environment.
    pub fn server(&self, command: &str, log: PathBuf) -> Program {
        let env = self.server_env();
        let path = program("dockhost");
        Program { name: "dockhost", path, args: vec![command.into()], env, log }
    }

    /// Starts another replica; returns when it serves.
    pub async fn add_replica(&mut self) -> usize {
        let proxies = self.proxies(true).await;
        let host = Host::on(self.hosts.as_ref(), &format!("replica-{}", self.replicas.len()));
        let (url, log, process) = self.serve(&proxies, &host).await;
        self.replicas.push(Replica { url, log, process: Some(process), proxies, host });
        self.replicas.len() - 1
    }

    /// Stops a replica as a deployment does: it shuts down in order.
    pub async fn stop_replica(&mut self, index: usize) {
        if let Some(process) = self.replicas[index].process.take() {
            process.stop(STOP_DEADLINE).await;
        }
    }

    /// Restarts a replica at its URL; returns when it serves.
    pub async fn restart_replica(&mut self, index: usize) {
        self.kill_replica(index).await;
        let (log, mut process) = self.launch_again(index);
        let url = wait_until_served(&log, &mut process).await;
        self.put_again(index, url, log, process);
    }

    /// Starts all processes at once, as when power is back; returns when the replicas serve. Replicas and agents must be down.
    pub async fn restart_all(&mut self) {
        let launched: Vec<_> = (0..self.replicas.len()).map(|index| self.launch_again(index)).collect();
        (0..self.agents.len()).for_each(|index| self.start_agent(index, &[]));
        let served = join_all(launched.into_iter().map(|(log, mut process)| async move {
            let url = wait_until_served(&log, &mut process).await;
            (url, log, process)
        }));
        let mongods = async {
            if let Some(mongods) = &mut self.mongods {
                mongods.restart_all().await;
            }
        };
        let (served, (), ()) = tokio::join!(served, self.nats.restart(), mongods);
        for (index, (url, log, process)) in served.into_iter().enumerate() {
            self.put_again(index, url, log, process);
        }
    }

    fn launch_again(&mut self, index: usize) -> (PathBuf, Child) {
        let proxies = std::mem::take(&mut self.replicas[index].proxies);
        let port = self.replicas[index].url.rsplit(':').next().map(str::to_owned);
        let host = self.replicas[index].host.clone();
        let launched = self.launch(&proxies, &host, port);
        self.replicas[index].proxies = proxies;
        launched
    }

    fn put_again(&mut self, index: usize, url: String, log: PathBuf, process: Child) {
        let replica = &mut self.replicas[index];
        (replica.url, replica.log, replica.process) = (url, log, Some(process));
    }

    async fn serve(&mut self, proxies: &Proxies, host: &Host) -> (String, PathBuf, Child) {
        let (log, mut process) = self.launch(proxies, host, None);
        let url = wait_until_served(&log, &mut process).await;
        (url, log, process)
    }

    fn launch(&mut self, proxies: &Proxies, host: &Host, port: Option<String>) -> (PathBuf, Child) {
        self.started += 1;
        let log = self.data.path().join(format!("replica-{}.log", self.started));
        let mut program = self.server("serve", log.clone());
        program.env.extend(proxies.nats_url().map(|url| ("NATS_URL", url)));
        program.env.extend(proxies.mongodb_uri(&self.mongo.uri).map(|uri| ("MONGODB_URI", uri)));
        program.env.extend(port.map(|port| ("PORT", port)));
        program.env.push(("DOCKHOST_BIND", host.address().to_string()));
        let process = host.place_with_clock(program).start().unwrap();
        (log, process)
    }

    async fn proxies(&self, to_database: bool) -> Proxies {
        if !self.topology.proxied {
            return Proxies::default();
        }
        Proxies::start(&self.nats.addresses(), to_database.then_some(self.mongo.uri.as_str())).await
    }

    /// The environment of a replica; of two values the later one counts.
    pub fn server_env(&self) -> Vec<(&'static str, String)> {
        let mut env = self.nats.secrets.server_env();
        env.push(("NATS_URL", self.nats.url()));
        env.push(("MONGODB_URI", self.mongo.uri.clone()));
        env.push(("DOCKHOST_DATABASE", self.mongo.database.clone()));
        env.push(("DOCKHOST_BIND", "127.0.0.1".to_owned()));
        env.push(("PORT", "0".to_owned()));
        // No load balancer has to notice that a replica stops.
        env.push(("DOCKHOST_SHUTDOWN_DELAY_MS", "0".to_owned()));
        env.push(("DOCKHOST_MAX_INSTANCES_PER_USER", "0".to_owned()));
        // All tests call from one address, most of them faster than people.
        env.push(("DOCKHOST_RATE_LIMITS", "off".to_owned()));
        env.push(("DOCKHOST_ENROLMENT", "open".to_owned()));
        env.extend(self.settings.iter().map(|(name, value)| (*name, value.clone())));
        env
    }

    /// Changes a setting of replicas started later.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.insert(name, value.to_owned());
    }

    /// Kills a replica with SIGKILL.
    pub async fn kill_replica(&mut self, index: usize) {
        if let Some(process) = self.replicas[index].process.take() {
            process.kill().await;
        }
    }

    /// Pauses a replica until [`World::resume_replica`].
    pub async fn pause_replica(&mut self, index: usize) {
        pause(self.replicas[index].process.as_mut().unwrap()).await;
    }

    pub async fn resume_replica(&mut self, index: usize) {
        resume(self.replicas[index].process.as_mut().unwrap()).await;
    }

    /// A client of one replica without a token.
    pub fn client(&self, replica: usize) -> Client {
        Client::new(&self.replicas[replica].url)
    }

    /// The administrator of [`ADMIN`], signed in; a client of the first replica.
    pub async fn admin(&self) -> Client {
        let [(_, username), (_, password)] = ADMIN;
        let credentials = json!({ "username": username, "password": password });
        let answer = self.client(0).post("/api/v2/user/signin", credentials).await;
        self.client(0).with_token(answer.data()["accessToken"].as_str().unwrap_or_else(|| panic!("{answer:?}")))
    }

    /// Signs a user up; returns a client of the first replica.
    pub async fn user(&self, name: &str) -> Client {
        let client = self.client(0);
        let answer = client.sign_up(name).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        client.with_token(answer.data()["accessToken"].as_str().unwrap())
    }

    /// Runs `dockhost verify` beside the replicas, once the read models hold the whole log: a projector may still gather
    /// the last events.
    ///
    /// # Panics
    /// With its output, if a read model differs from the log.
    pub async fn verify(&self) {
        wait_until("the read models hold the log", super::wait::DEADLINE, async || {
            let mut state = Ok(());
            for replica in self.replicas.iter().filter(|replica| replica.process.is_some()) {
                state = Client::new(&replica.url).models_hold_log().await;
                if state.is_ok() {
                    break;
                }
            }
            state
        })
        .await;
        let log = self.data.path().join("verify.log");
        let status = self.server("verify", log.clone()).start().unwrap().wait().await.unwrap();
        assert!(status.success(), "verify: {status}\n{}", std::fs::read_to_string(log).unwrap());
    }

    /// Checks the log.
    ///
    /// # Panics
    /// If an event is stored twice or its expectation was false.
    pub async fn check_log(&self) {
        let log = log::stored(&self.nats).await;
        let (duplicates, broken) = (log::duplicates(&log), log::broken_expectations(&log));
        assert!(
            duplicates.is_empty() && broken.is_empty(),
            "stored twice: {duplicates:?}; expectation false: {broken:#?}"
        );
    }

    /// The number of events on each subject that a filter selects.
    pub async fn events_on(&self, filter: &str) -> BTreeMap<String, usize> {
        let broker = self.nats.main().await;
        let stream = broker.jetstream().get_stream(EVENTS).await.unwrap();
        stream.info_with_subjects(filter).await.unwrap().try_collect().await.unwrap()
    }

    /// All instances in a transitional state whose deadline passed more than `tolerance` ago.
    pub async fn overdue(&self, tolerance: Duration) -> Vec<InstanceDocument> {
        let store = MongoStore::connect(&self.mongo.uri, &self.mongo.database).await.unwrap();
        let before = clock::now().millis() - i64::try_from(tolerance.as_millis()).unwrap();
        store.overdue_instances(Timestamp::from_millis(before)).await.unwrap()
    }

    /// Waits for a leader.
    pub async fn leader(&self) -> usize {
        self.leader_but(None).await
    }

    /// Waits for a leader other than `not`. A paused replica can't log that it no longer leads.
    pub async fn leader_but(&self, not: Option<usize>) -> usize {
        wait_until("a replica leads", super::wait::DEADLINE, async || {
            let mut leaders = (0..self.replicas.len()).filter(|n| self.replicas[*n].leads());
            leaders.find(|n| Some(*n) != not).ok_or("none leads")
        })
        .await
    }

    /// Signs a backend in; returns a client.
    pub async fn backend(&self, name: &str) -> Client {
        let client = self.client(0);
        let signin = json!({ "username": name, "password": "a long password" });
        let answer = client.post("/api/v2/backend/signin", signin).await;
        client.with_token(&answer.cookie("accessTokenBE").unwrap())
    }

    /// Waits until the backend's document has this status.
    pub async fn wait_for_backend(&self, name: &str, status: &str) {
        let client = self.backend(name).await;
        wait_until(&format!("backend {name} is {status}"), super::wait::DEADLINE, async || {
            let answer: Answer = client.get("/api/v2/backend").await;
            if answer.data()["status"] == status { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

impl Replica {
    /// Whether it runs and its log says that it leads. A paused replica can't log that it no longer does.
    pub fn leads(&self) -> bool {
        if self.process.is_none() {
            return false;
        }
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rfind(|line| line.contains("this replica is")).is_some_and(|line| !line.contains("no longer"))
    }
}

async fn wait_until_served(log: &PathBuf, process: &mut Child) -> String {
    process.wait_until_ready(START_DEADLINE, async |_| served_at(log)).await.unwrap()
}

/// The address in a replica's log, once it serves.
fn served_at(log: &PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    // As text or as JSON.
    let (_, rest) = text.split_once("the API is at ")?;
    Some(rest.split(['"', ' ', '\n']).next()?.to_owned())
}
