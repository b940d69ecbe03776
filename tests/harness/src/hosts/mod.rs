//! Hosts of their own for the parts of one system: each has a network namespace on a common bridge, its own clock, and,
//! for the servers, a file system of its own. So links can be cut in one direction or be slow, disks be full, and power be
//! lost.
//!
//! It needs root, `ip`, `iptables`, `nsenter`, `python3`, loop devices and libfaketime. [`Hosts::missing`] names what this
//! machine lacks; without it, the parts run on this host as they do otherwise.
//!
//! Everything has the number of its [`Hosts`] in its name, and a file lock holds the number. Whoever gets a number first
//! removes what a killed run with that number left behind.

mod clock;
mod command;
mod delay;
mod disk;
mod network;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use dockhost::dev::process::Program;

pub use clock::Clock;
pub use delay::Delay;
pub use disk::{Disk, cover};
use network::{Namespace, Network};
pub use network::{Rule, Traffic};

/// The numbers of [`Hosts`] that exist at the same time.
const NUMBERS: u8 = 200;

/// What this machine lacks, each with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    pub networks: Option<String>,
    pub delays: Option<String>,
    pub disks: Option<String>,
    pub clocks: Option<String>,
}

/// The hosts of one system; removed on drop.
#[derive(Debug)]
pub struct Hosts {
    network: Option<Network>,
    missing: Missing,
    /// The files and the mounted disks.
    directory: PathBuf,
    added: AtomicU8,
    number: u8,
    // Released last.
    _lock: File,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        disk::unmount_below(&self.directory);
        // The network removes itself.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Hosts {
    /// Prepares what this machine permits.
    #[must_use]
    pub fn prepare() -> Arc<Self> {
        let free = (1..=NUMBERS).find_map(|number| lock(number).map(|lock| (number, lock)));
        let (number, lock) = free.expect("all numbers of test hosts are in use");
        let directory = directory(number);
        disk::unmount_below(&directory);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let (network, networks) = match Network::create(number) {
            Ok(network) => (Some(network), None),
            Err(reason) => (None, Some(reason)),
        };
        let delays = match &network {
            Some(network) => network.try_delay().err(),
            None => networks.clone(),
        };
        let disks = Disk::try_out(&directory).err();
        let missing = Missing { networks, delays, disks, clocks: clock::missing() };
        Arc::new(Self { network, missing, directory, added: AtomicU8::new(0), number, _lock: lock })
    }

    /// The number in all names.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// What this machine lacks.
    #[must_use]
    pub const fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Adds a host.
    #[must_use]
    pub fn add(self: &Arc<Self>, name: &str) -> Host {
        let index = self.added.fetch_add(1, Ordering::SeqCst);
        let namespace = self.network.as_ref().map(|network| network.add(name, index).unwrap());
        let clock = self.missing.clocks.is_none().then(|| Clock::new(&self.directory.join(format!("{name}.clock"))));
        Host { name: name.to_owned(), namespace, clock, hosts: Some(Arc::clone(self)) }
    }

    /// The host of this process, the clients' one.
    #[must_use]
    pub fn clients(self: &Arc<Self>) -> Host {
        let namespace = self.network.as_ref().map(Network::outside);
        Host { name: "clients".to_owned(), namespace, clock: None, hosts: Some(Arc::clone(self)) }
    }
}

/// One host: this machine itself, or one of [`Hosts`].
#[derive(Debug, Clone)]
pub struct Host {
    pub name: String,
    namespace: Option<Namespace>,
    clock: Option<Clock>,
    hosts: Option<Arc<Hosts>>,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local".to_owned(), namespace: None, clock: None, hosts: None }
    }

    /// A new one of these hosts, or this machine.
    #[must_use]
    pub fn on(hosts: Option<&Arc<Hosts>>, name: &str) -> Self {
        hosts.map_or_else(Self::local, |hosts| hosts.add(name))
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |namespace| namespace.address).into()
    }

    /// Its clock, if it can differ.
    #[must_use]
    pub const fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// The program, started on this host.
    #[must_use]
    pub fn place(&self, program: Program) -> Program {
        match &self.namespace {
            Some(namespace) => namespace.enter(program),
            None => program,
        }
    }

    /// The same with the host's own clock. Not for mongod, which libfaketime keeps busy.
    #[must_use]
    pub fn place_with_clock(&self, mut program: Program) -> Program {
        program.env.extend(self.clock.iter().flat_map(Clock::env));
        self.place(program)
    }

    /// A new store: a disk of its own, or else the directory.
    #[must_use]
    pub fn store(&self, directory: &Path) -> Store {
        let hosts = self.hosts.as_ref().filter(|hosts| hosts.missing.disks.is_none());
        if let Some(hosts) = hosts {
            let disk = Disk::create(&hosts.directory, &self.name).unwrap();
            return Store { path: disk.path().to_owned(), disk: Some(disk) };
        }
        std::fs::create_dir_all(directory).unwrap();
        Store { path: directory.to_owned(), disk: None }
    }
}

/// Where a server keeps its data.
#[derive(Debug)]
pub struct Store {
    pub path: PathBuf,
    /// None on a machine that permits none.
    pub disk: Option<Disk>,
}

impl Store {
    /// Removes all files. The server must not run.
    pub fn wipe(&self) {
        for entry in std::fs::read_dir(&self.path).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.unwrap();
        }
    }
}

/// Cuts or disturbs what `from` sends to `to`; nothing without networks.
///
/// # Panics
/// If the kernel refuses the rule.
#[must_use]
pub fn disturb(from: &Host, to: &Host, traffic: Traffic) -> Option<Rule> {
    Some(Rule::apply(from.namespace.as_ref()?, to.namespace.as_ref()?, traffic).unwrap())
}

/// Makes all links of a host slow: delays what it sends and what it receives. Nothing without networks.
///
/// # Panics
/// If the program that delays does not start.
pub async fn slow_down(host: &Host, sent: Duration, received: Duration) -> Option<Delay> {
    let (namespace, hosts) = (host.namespace.as_ref()?, host.hosts.as_ref()?);
    let log = hosts.directory.join(format!("{}.delay.log", host.name));
    Some(Delay::begin(namespace, (sent, received), &log).await.unwrap())
}

/// The files and the mounted disks of a number.
#[must_use]
pub fn directory(number: u8) -> PathBuf {
    root().join(number.to_string())
}

/// Reserves a number, unless another process has it.
#[must_use]
pub fn lock(number: u8) -> Option<File> {
    let file = File::create(root().join(format!("{number}.lock"))).unwrap();
    file.try_lock().is_ok().then_some(file)
}

fn root() -> PathBuf {
    super::shared_temp("hosts")
}
