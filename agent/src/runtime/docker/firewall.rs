//! Keeps instances away from the machine itself, its neighbours and its cloud's metadata address.
//!
//! In: the bridge of the instances. Out: rules in the host's packet filter. New connections from an instance to the
//! host's own addresses or to private ones are refused; names are still resolved, and whoever connects to an instance
//! gets his answers. An engine can't do this by itself, so it takes an agent that is root on the engine's machine and
//! finds `iptables`; where that isn't so, the log says what is open.
//!
//! The rules are added when missing and never flushed: several agents may share a machine, and there must be no
//! moment without them.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

/// Where connections to the host itself are judged.
const HOST_CHAIN: &str = "DOCKHOST-HOST";
/// Where connections through the host are judged.
const FORWARD_CHAIN: &str = "DOCKHOST-OUT";
/// What isn't the internet: private and shared networks, and link-local addresses such as 169.254.169.254.
const PRIVATE_NETWORKS: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirewallError {
    #[error("the bridge {0} is not on this machine: the agent runs in a container, or the engine elsewhere")]
    BridgeNotFound(String),
    #[error("could not run iptables")]
    CannotRun(#[source] std::io::Error),
    #[error("iptables {rule}: {answer}")]
    Refused { rule: String, answer: String },
}

/// Sees to it that the rules stand for this bridge.
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
    // The engine keeps this chain first in line for rules that are not its own; Podman has none.
    let forward = if run(&["-n", "-L", "DOCKER-USER"]).await?.status.success() { "DOCKER-USER" } else { "FORWARD" };
    insert(&[forward, "-i", bridge, "-j", FORWARD_CHAIN]).await
}

/// The rules of a chain, in order.
fn rules(chain: &str) -> Vec<Vec<&str>> {
    let answers = vec![chain, "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"];
    let names = ["udp", "tcp"].map(|protocol| vec![chain, "-p", protocol, "--dport", "53", "-j", "RETURN"]);
    let refused: Vec<Vec<&str>> = if chain == HOST_CHAIN {
        vec![vec![chain, "-j", "REJECT"]]
    } else {
        PRIVATE_NETWORKS.map(|network| vec![chain, "-d", network, "-j", "REJECT"]).to_vec()
    };
    [vec![answers], names.to_vec(), refused].concat()
}

async fn append(rule: &[&str]) -> Result<(), FirewallError> {
    add("-A", rule).await
}

async fn insert(rule: &[&str]) -> Result<(), FirewallError> {
    add("-I", rule).await
}

async fn add(how: &str, rule: &[&str]) -> Result<(), FirewallError> {
    if run(&[&["-C"], rule].concat()).await?.status.success() {
        return Ok(());
    }
    let words = [&[how], rule].concat();
    let output = run(&words).await?;
    if output.status.success() {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FirewallError::Refused { rule: words.join(" "), answer })
}

async fn run(words: &[&str]) -> Result<Output, FirewallError> {
    // -w: wait for others who change the rules.
    let mut command = Command::new("iptables");
    command.arg("-w").args(words).stdin(Stdio::null()).output().await.map_err(FirewallError::CannotRun)
}
