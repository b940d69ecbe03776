//! One mongod, or a replica set of three, that a test can kill and pause. Other tests use the shared one ([`Mongo`]).
//!
//! Each member has a fixed address and data directory, so it can be restarted as itself.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dockhost::common::clock;
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost_projections::admin;
use futures::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::hosts::{Host, Store};
use super::pause::{pause, resume};
use super::{Hosts, Mongo, ports, wait_until};

/// The longest until a killed member has recovered, or the set has elected a primary.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// A member that does not answer within this is not the primary.
const PRIMARY_TIMEOUT: Duration = Duration::from_secs(1);

/// Running mongods, killed on drop.
pub struct Mongods {
    // Dropped first, so that no member writes into a removed directory.
    members: Vec<Member>,
    data: TempDir,
}

struct Member {
    program: Program,
    address: SocketAddr,
    child: Option<Child>,
    store: Store,
    host: Host,
}

impl Mongods {
    /// Starts a replica set of this many members.
    pub async fn start(count: usize) -> Self {
        Self::start_on(None, count).await
    }

    /// The same with a host for each member.
    pub async fn start_on(hosts: Option<&Arc<Hosts>>, count: usize) -> Self {
        let binary = fetch::find(&fetch::MONGOD, &super::target_tmp()).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut members: Vec<_> = (0..count)
            .map(|n| describe(&binary, &data.path().join(format!("m{n}")), Host::on(hosts, &format!("mongod-{n}"))))
            .collect();
        for member in &mut members {
            member.start().await;
        }
        let mongods = Self { members, data };
        admin::initiate_replica_set(&mongods.server_uri()).await.unwrap();
        mongods
    }

    fn server_uri(&self) -> String {
        let hosts: Vec<_> = self.members.iter().map(|member| member.address.to_string()).collect();
        let options = if hosts.len() == 1 {
            "directConnection=true".to_owned()
        } else {
            format!("replicaSet={}", admin::REPLICA_SET_NAME)
        };
        format!("mongodb://{}/?{options}", hosts.join(","))
    }

    /// A new, empty database.
    pub fn database(&self) -> Mongo {
        Mongo::on(&self.server_uri(), &format!("test-{}", clock::fresh_uuid()))
    }

    /// The members' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// Waits for the primary.
    pub async fn primary(&self) -> usize {
        wait_until("the set has a primary", RECOVERY_DEADLINE, async || {
            for (n, member) in self.members.iter().enumerate().filter(|(_, member)| member.child.is_some()) {
                let uri = format!("mongodb://{}/", member.address);
                // In its own task, because a driver operation must not be dropped half-way.
                let answer = tokio::spawn(async move { admin::is_primary(&uri, PRIMARY_TIMEOUT).await });
                if answer.await.unwrap().unwrap_or(false) {
                    return Ok(n);
                }
            }
            Err("no primary")
        })
        .await
    }

    /// A member's process, if it runs.
    pub fn pid(&self, member: usize) -> Option<u32> {
        self.members[member].child.as_ref().and_then(Child::pid)
    }

    /// Kills one member with SIGKILL.
    pub async fn kill(&mut self, member: usize) {
        if let Some(child) = self.members[member].child.take() {
            child.kill().await;
        }
    }

    /// Stops one member as a deployment does.
    pub async fn stop(&mut self, member: usize) {
        if let Some(child) = self.members[member].child.take() {
            child.stop(RECOVERY_DEADLINE).await;
        }
    }

    /// The number of members.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// A set has at least one member.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members' logs.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.members.iter().map(|member| member.program.log.clone()).collect()
    }

    /// A member's host.
    pub fn host(&self, member: usize) -> &Host {
        &self.members[member].host
    }

    /// A member's store.
    pub fn store(&self, member: usize) -> &Store {
        &self.members[member].store
    }

    /// Restarts a member at the same address with the same data.
    pub async fn restart(&mut self, member: usize) {
        self.kill(member).await;
        self.members[member].start().await;
    }

    /// Kills running members, and starts all at once at the same addresses with the same data.
    pub async fn restart_all(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member).await;
        }
        join_all(self.members.iter_mut().map(Member::start)).await;
    }

    /// Replaces the only member by an empty one at the same address.
    pub async fn replace(&mut self) {
        self.kill(0).await;
        let database = self.data.path().join("m0/db");
        std::fs::remove_dir_all(&database).unwrap();
        std::fs::create_dir(&database).unwrap();
        self.members[0].start().await;
        admin::initiate_replica_set(&self.server_uri()).await.unwrap();
    }

    /// Pauses a member until [`Mongods::resume`].
    pub async fn pause(&mut self, member: usize) {
        pause(self.members[member].child.as_mut().unwrap()).await;
    }

    pub async fn resume(&mut self, member: usize) {
        resume(self.members[member].child.as_mut().unwrap()).await;
    }
}

impl Member {
    async fn start(&mut self) {
        let mut child = self.program.clone().start().unwrap();
        child.wait_until_ready(RECOVERY_DEADLINE, async |_| TcpStream::connect(self.address).await.ok()).await.unwrap();
        self.child = Some(child);
    }
}

fn describe(binary: &Path, directory: &Path, host: Host) -> Member {
    let address = SocketAddr::from((host.address(), ports::free()));
    std::fs::create_dir_all(directory).unwrap();
    let store = host.store(&directory.join("db"));
    let mut args: Vec<OsString> = vec!["--dbpath".into(), store.path.clone().into(), "--port".into()];
    args.push(address.port().to_string().into());
    args.extend(["--bind_ip".into(), format!("127.0.0.1,{}", host.address()).into()]);
    args.extend(["--nounixsocket", "--replSet", admin::REPLICA_SET_NAME].map(OsString::from));
    args.extend(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"].map(OsString::from));
    args.extend(["--setParameter", "diagnosticDataCollectionEnabled=false"].map(OsString::from));
    let log = directory.join("mongod.log");
    let program = Program { name: "mongod", path: binary.to_owned(), args, env: vec![], log };
    Member { program: host.place(program), address, child: None, store, host }
}
