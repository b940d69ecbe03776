//! A bridge with one network namespace per host. This process is on the bridge too, so clients and tests reach all hosts.
//! The bridge is in a namespace of its own, because a firewall of this machine (Docker's, for one) may drop what is
//! forwarded.
//!
//! Names for number 7: the interface `dh7` of this process, the namespaces `dh7-switch` and `dh7-nats-0`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use dockhost::dev::process::Program;

use super::command::{run, run_words};
use super::delay;

/// The bridge; it and the namespaces are removed on drop.
#[derive(Debug)]
pub(super) struct Network {
    number: u8,
}

/// One host's network.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    /// None for the network of this process.
    name: Option<String>,
    pub(super) address: Ipv4Addr,
    /// The namespace of the bridge, and the interface there.
    port: Option<(String, String)>,
}

/// What a rule does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// All are dropped.
    Cut,
    /// This share of a thousand is dropped.
    Lossy(u16),
}

/// A disturbance of one direction between two hosts. It stays until [`Rule::remove`] or the end of the network.
#[derive(Debug)]
pub struct Rule {
    namespace: String,
    spec: Vec<String>,
}

const fn address(number: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, number, host)
}

impl Network {
    /// Creates the bridge, and tries a namespace and a rule out.
    pub(super) fn create(number: u8) -> Result<Self, String> {
        let network = Self { number };
        network.remove();
        let (own, switch) = (network.own(), network.namespace("switch"));
        run("nsenter --version")?;
        run(&format!("ip netns add {switch}"))?;
        run(&format!("ip -n {switch} link add bridge type bridge"))?;
        run(&format!("ip -n {switch} link set bridge up"))?;
        run(&format!("ip link add {own} type veth peer name clients netns {switch}"))?;
        run(&format!("ip -n {switch} link set clients master bridge up"))?;
        run(&format!("ip addr add {}/24 dev {own}", address(number, 1)))?;
        run(&format!("ip link set {own} up"))?;
        let tried = network.add("trial", 250)?;
        for traffic in [Traffic::Cut, Traffic::Lossy(500)] {
            Rule::apply(&network.outside(), &tried, traffic)?.remove()?;
        }
        run(&format!("ip netns del {}", network.namespace("trial")))?;
        Ok(network)
    }

    /// The interface of this process.
    fn own(&self) -> String {
        format!("dh{}", self.number)
    }

    fn namespace(&self, name: &str) -> String {
        format!("dh{}-{name}", self.number)
    }

    /// Adds a namespace with an address on the bridge.
    pub(super) fn add(&self, name: &str, index: u8) -> Result<Namespace, String> {
        let (switch, namespace) = (self.namespace("switch"), self.namespace(name));
        let address = address(self.number, index + 2);
        run(&format!("ip netns add {namespace}"))?;
        run(&format!("ip -n {switch} link add host{index} type veth peer name eth0 netns {namespace}"))?;
        run(&format!("ip -n {switch} link set host{index} master bridge up"))?;
        run(&format!("ip -n {namespace} addr add {address}/24 dev eth0"))?;
        run(&format!("ip -n {namespace} link set eth0 up"))?;
        run(&format!("ip -n {namespace} link set lo up"))?;
        Ok(Namespace { name: Some(namespace), address, port: Some((switch, format!("host{index}"))) })
    }

    /// Whether hosts can be slow here.
    pub(super) fn try_delay(&self) -> Result<(), String> {
        delay::try_out(&self.namespace("switch"), "clients")
    }

    /// The network of this process.
    pub(super) fn outside(&self) -> Namespace {
        Namespace { name: None, address: address(self.number, 1), port: None }
    }

    fn remove(&self) {
        let namespaces = run("ip netns list").unwrap_or_default();
        let names = namespaces.lines().filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| name.starts_with(&self.namespace(""))) {
            let _ = run(&format!("ip netns del {name}"));
        }
        // It may be gone with its other end already.
        let _ = run(&format!("ip link del {}", self.own()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Namespace {
    /// The namespace of the bridge, and the interface there; none for the network of this process.
    pub(super) fn port(&self) -> Option<(&str, &str)> {
        self.port.as_ref().map(|(switch, interface)| (switch.as_str(), interface.as_str()))
    }

    /// The program, started in this namespace. Its process id stays the one of the child.
    pub(super) fn enter(&self, mut program: Program) -> Program {
        let Some(name) = &self.name else { return program };
        let mut args = vec![format!("--net=/run/netns/{name}").into(), program.path.into_os_string()];
        args.append(&mut program.args);
        Program { path: PathBuf::from("nsenter"), args, ..program }
    }
}

impl Rule {
    /// Disturbs what `from` sends to `to`: at the receiver, or at the sender if the receiver is this process.
    pub(super) fn apply(from: &Namespace, to: &Namespace, traffic: Traffic) -> Result<Self, String> {
        let (namespace, chain, other) = match (&to.name, &from.name) {
            (Some(receiver), _) => (receiver, "INPUT -s", from.address),
            (None, Some(sender)) => (sender, "OUTPUT -d", to.address),
            (None, None) => return Err("both are this host".to_owned()),
        };
        let matching = match traffic {
            Traffic::Cut => String::new(),
            Traffic::Lossy(share) => {
                format!("-m statistic --mode random --probability {:.3}", f64::from(share) / 1000.0)
            }
        };
        let spec = format!("{chain} {other} {matching} -j DROP");
        let rule = Self { namespace: namespace.clone(), spec: spec.split_whitespace().map(str::to_owned).collect() };
        rule.change("-A")?;
        Ok(rule)
    }

    fn change(&self, how: &str) -> Result<(), String> {
        let network = format!("--net=/run/netns/{}", self.namespace);
        let words = ["nsenter", &network, "iptables", "-w", how];
        run_words(words.into_iter().chain(self.spec.iter().map(String::as_str))).map(drop)
    }

    /// The number of packets that rules in this namespace have dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let listed = run(&format!("nsenter --net=/run/netns/{} iptables -w -nvxL", self.namespace)).unwrap_or_default();
        let rules = listed.lines().filter(|line| line.contains(" DROP "));
        rules.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum()
    }

    /// Ends the disturbance.
    ///
    /// # Errors
    /// If the rule is gone.
    pub fn remove(self) -> Result<(), String> {
        self.change("-D")
    }
}
