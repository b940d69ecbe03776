//! A database of the test's own that can be killed: one mongod, or a replica set of three.
//!
//! In: how many. Out: members that keep their address and their data, so that each can be killed, or paused, and come
//! back as itself; and who of them is the primary. What needs no such thing takes the run's shared one ([`Mongo`]).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dockhost::common::clock;
use dockhost::dev::fetch;
use dockhost::dev::process::{Child, Program};
use dockhost_projections::admin;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::pause::{pause, resume};
use super::{Mongo, ports, wait_until};

/// A member that was killed recovers first; the set's election takes ten seconds of silence.
const PATIENCE: Duration = Duration::from_secs(60);
/// One who does not answer within this is no primary.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Running mongods. Gone when they are dropped.
pub struct Mongods {
    // Dropped first: no member may write into a directory that is being removed.
    members: Vec<Member>,
    _data: TempDir,
}

struct Member {
    program: Program,
    address: SocketAddr,
    child: Option<Child>,
}

impl Mongods {
    /// This many members, as one set with a primary.
    pub async fn start(count: usize) -> Self {
        let binary = fetch::find(&fetch::MONGOD, &super::target_tmp()).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut members: Vec<_> = (0..count).map(|n| describe(&binary, &data.path().join(format!("m{n}")))).collect();
        for member in &mut members {
            member.start().await;
        }
        let mongods = Self { members, _data: data };
        admin::initiate_replica_set(&mongods.server_uri()).await.unwrap();
        mongods
    }

    fn server_uri(&self) -> String {
        let hosts: Vec<_> = self.members.iter().map(|member| member.address.to_string()).collect();
        let how = if hosts.len() == 1 {
            "directConnection=true".to_owned()
        } else {
            format!("replicaSet={}", admin::REPLICA_SET_NAME)
        };
        format!("mongodb://{}/?{how}", hosts.join(","))
    }

    /// A fresh, empty database on them.
    pub fn database(&self) -> Mongo {
        Mongo::on(&self.server_uri(), &format!("test-{}", clock::fresh_uuid()))
    }

    /// The members' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// The member that takes writes, once there is one.
    pub async fn primary(&self) -> usize {
        wait_until("the set has a primary", PATIENCE, async || {
            for (n, member) in self.members.iter().enumerate().filter(|(_, member)| member.child.is_some()) {
                let uri = format!("mongodb://{}/", member.address);
                // In a task of its own: an operation of the driver is never dropped half-way.
                let asked = tokio::spawn(async move { admin::is_primary(&uri, ANSWERS_WITHIN).await });
                if asked.await.unwrap().unwrap_or(false) {
                    return Ok(n);
                }
            }
            Err("none says that it is")
        })
        .await
    }

    /// A member's process, if it runs.
    pub fn pid(&self, member: usize) -> Option<u32> {
        self.members[member].child.as_ref().and_then(Child::pid)
    }

    /// Kills one member, as a crash would.
    pub async fn kill(&mut self, member: usize) {
        if let Some(child) = self.members[member].child.take() {
            child.kill().await;
        }
    }

    /// Starts a member again that was killed, at the same address with the same data.
    pub async fn restart(&mut self, member: usize) {
        self.kill(member).await;
        self.members[member].start().await;
    }

    /// Has a member stand still, as a machine that hangs; it goes on with [`Mongods::resume`].
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
        child.wait_until_ready(PATIENCE, async |_| TcpStream::connect(self.address).await.ok()).await.unwrap();
        self.child = Some(child);
    }
}

fn describe(binary: &Path, directory: &Path) -> Member {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
    std::fs::create_dir_all(directory.join("db")).unwrap();
    let mut args: Vec<OsString> = vec!["--dbpath".into(), directory.join("db").into(), "--port".into()];
    args.push(address.port().to_string().into());
    args.extend(["--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", admin::REPLICA_SET_NAME].map(OsString::from));
    args.extend(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"].map(OsString::from));
    args.extend(["--setParameter", "diagnosticDataCollectionEnabled=false"].map(OsString::from));
    let log = directory.join("mongod.log");
    let program = Program { name: "mongod", path: binary.to_owned(), args, env: vec![], log };
    Member { program, address, child: None }
}
