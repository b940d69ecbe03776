//! Blocks connections from instances to the host, to private networks and to the cloud's metadata address.
//!
//! The iptables rules reject new connections from the instances' bridge, except DNS; answers to incoming connections
//! pass. An engine can't do this, so it requires an agent with root on the engine's machine and `iptables`; otherwise the
//! caller logs a warning. Missing rules are added and none is flushed: agents may share a machine, and the rules must
//! never be absent for a moment.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

/// Chain for connections to the host.
const HOST_CHAIN: &str = "DOCKHOST-HOST";
/// Chain for connections that the host forwards.
const FORWARD_CHAIN: &str = "DOCKHOST-OUT";
/// Private and shared networks, and link-local addresses such as the metadata address 169.254.169.254.
const PRIVATE_NETWORKS: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];

/// Why the rules are not in place.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirewallError {
    #[error("bridge {0} not found on this machine; the agent runs in a container or the engine on another machine")]
    BridgeNotFound(String),
    #[error("could not run iptables")]
    CannotRun(#[source] std::io::Error),
    #[error("iptables {rule}: {answer}")]
    Refused { rule: String, answer: String },
}

/// Adds the rules that are missing for this bridge.
pub(super) async fn ensure(bridge: &str) -> Result<(), FirewallError> {
    if !Path::new("/sys/class/net").join(bridge).exists() {
        return Err(FirewallError::BridgeNotFound(bridge.to_owned()));
    }
    for chain in [HOST_CHAIN, FORWARD_CHAIN] {
        if !run(&["-n", "-L", chain]).await?.status.success() {
            run(&["-N", chain]).await?;
        }
        for rule in rules(chain) {
            append(&rule).await?;
        }
    }
    insert(&["INPUT", "-i", bridge, "-j", HOST_CHAIN]).await?;
    // Docker evaluates this chain for users' rules first; Podman has none.
    let forward = if run(&["-n", "-L", "DOCKER-USER"]).await?.status.success() { "DOCKER-USER" } else { "FORWARD" };
    insert(&[forward, "-i", bridge, "-j", FORWARD_CHAIN]).await
}

/// The rules of a chain, in order.
fn rules(chain: &str) -> Vec<Vec<&str>> {
    let answers = vec![chain, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"];
    let dns = ["udp", "tcp"].map(|protocol| vec![chain, "-p", protocol, "--dport", "53", "-j", "RETURN"]);
    let rejects: Vec<Vec<&str>> = if chain == HOST_CHAIN {
        vec![vec![chain, "-j", "REJECT"]]
    } else {
        PRIVATE_NETWORKS.map(|network| vec![chain, "-d", network, "-j", "REJECT"]).to_vec()
    };
    [vec![answers], dns.to_vec(), rejects].concat()
}

async fn append(rule: &[&str]) -> Result<(), FirewallError> {
    add("-A", rule).await
}

async fn insert(rule: &[&str]) -> Result<(), FirewallError> {
    add("-I", rule).await
}

async fn add(option: &str, rule: &[&str]) -> Result<(), FirewallError> {
    if run(&[&["-C"], rule].concat()).await?.status.success() {
        return Ok(());
    }
    let arguments = [&[option], rule].concat();
    let output = run(&arguments).await?;
    if output.status.success() {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FirewallError::Refused { rule: arguments.join(" "), answer })
}

async fn run(arguments: &[&str]) -> Result<Output, FirewallError> {
    // -w: wait for the lock of other processes that change rules.
    let mut command = Command::new("iptables");
    command.arg("-w").args(arguments).stdin(Stdio::null()).output().await.map_err(FirewallError::CannotRun)
}
