//! Blocks connections from instances to the host, to each other, to private networks and to the cloud's metadata address.
//!
//! The rules reject new connections from the instances' bridge, except DNS to the name servers in use; answers to incoming
//! connections pass. An engine can't do this, so it requires an agent with root on the engine's machine, `iptables` and
//! `ip6tables`. Firewall scripts and reloads remove rules that they did not make, so the rules are compared again and
//! again. The rules name the bridge and not its addresses, so they can be made before the bridge exists.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::network::Network;
use super::rules::{self, Family, Guard};

/// Held while rules are compared and made, so that two agents don't make the same rule.
const LOCK_FILE: &str = "/run/dockhost-firewall.lock";
/// Where the machine's name servers are configured; with systemd-resolved, the second file has the real ones.
const RESOLVER_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Docker's configuration, whose `dns` takes precedence for its containers.
const DOCKER_CONFIGURATION: &str = "/etc/docker/daemon.json";
/// Whether the kernel passes packets between two ports of a bridge to the packet filter.
const BRIDGED_PACKETS: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];

/// Why the rules are not in place.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirewallError {
    #[error("bridge {0} not found on this machine; the agent runs in a container or the engine on another machine")]
    BridgeNotFound(String),
    #[error("could not run {program}: {source}")]
    CannotRun { program: &'static str, source: std::io::Error },
    #[error("{program}: {answer}")]
    Refused { program: &'static str, answer: String },
    #[error("another program removes the rules as soon as they are made")]
    NotKept,
    #[error("the kernel does not filter connections between instances: {0}")]
    Neighbours(std::io::Error),
}

/// The packet filters of this machine.
#[derive(Debug, Default)]
pub(super) struct Firewall(Mutex<Known>);

/// The rules after the last comparison; empty before the first.
#[derive(Debug, Default)]
struct Known {
    v4: Vec<String>,
    v6: Vec<String>,
    guard: Option<Guard>,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// All rules were in place.
    Unchanged,
    /// They were made for the first time, or for another bridge or other name servers.
    Made,
    /// Rules were gone or had been changed; they were made again.
    Repaired,
}

impl Firewall {
    /// Compares the rules, and makes them if one is missing. Blocks for some milliseconds.
    pub(super) fn ensure(&self, network: &Network, bridge_must_exist: bool) -> Result<Compared, FirewallError> {
        if bridge_must_exist && !Path::new("/sys/class/net").join(&network.bridge).exists() {
            return Err(FirewallError::BridgeNotFound(network.bridge.clone()));
        }
        let guard = Guard { bridge: network.bridge.clone(), resolvers: resolvers(network) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without the lock, another agent may make the same rules; the next comparison removes duplicates.
        let lock = File::create(LOCK_FILE).ok();
        let _held = lock.as_ref().map(File::lock);
        if known.guard.as_ref() != Some(&guard) {
            *known = Known { guard: Some(guard.clone()), ..Known::default() };
        }
        let v4 = compare(Family::V4, &guard, &mut known.v4)?;
        let v6 = match compare(Family::V6, &guard, &mut known.v6) {
            Err(error) if network.has_ipv6 => return Err(error),
            // Instances have no IPv6 addresses, so nothing depends on these rules.
            Err(error) => {
                tracing::debug!(%error, "no rules for IPv6");
                Compared::Unchanged
            }
            Ok(compared) => compared,
        };
        let files = if network.has_ipv6 { &BRIDGED_PACKETS[..] } else { &BRIDGED_PACKETS[..1] };
        filter_bridged_packets(files)?;
        Ok(if v4 == Compared::Unchanged { v6 } else { v4 })
    }
}

fn compare(family: Family, guard: &Guard, known: &mut Vec<String>) -> Result<Compared, FirewallError> {
    let saved = save(family)?;
    if !known.is_empty() && rules::own_rules(&saved) == *known {
        return Ok(Compared::Unchanged);
    }
    let was_known = !known.is_empty();
    restore(family, &rules::repair(family, &saved, guard))?;
    let saved = save(family)?;
    if !rules::is_complete(&saved, guard) {
        known.clear();
        return Err(FirewallError::NotKept);
    }
    *known = rules::own_rules(&saved).into_iter().map(str::to_owned).collect();
    Ok(if was_known { Compared::Repaired } else { Compared::Made })
}

fn save(family: Family) -> Result<String, FirewallError> {
    let program = match family {
        Family::V4 => "iptables-save",
        Family::V6 => "ip6tables-save",
    };
    run(program, &["-t", "filter"], "")
}

fn restore(family: Family, input: &str) -> Result<(), FirewallError> {
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    // -w: wait for the lock of other processes that change rules.
    run(program, &["-w", "--noflush"], input).map(drop)
}

fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, FirewallError> {
    let cannot_run = |source| FirewallError::CannotRun { program, source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(cannot_run)?;
    }
    let output = child.wait_with_output().map_err(cannot_run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let answer = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(FirewallError::Refused { program, answer })
}

/// The name servers that instances ask: this machine's, those of Docker's configuration, and Podman's own on the bridge.
fn resolvers(network: &Network) -> Vec<IpAddr> {
    let configured = RESOLVER_FILES.iter().filter_map(|file| fs::read_to_string(file).ok());
    let mut all: Vec<IpAddr> = configured.flat_map(|text| name_servers(&text)).collect();
    all.extend(fs::read_to_string(DOCKER_CONFIGURATION).ok().iter().flat_map(|text| docker_dns(text)));
    all.extend(&network.gateways);
    all.retain(|address| !address.is_loopback());
    all.sort();
    all.dedup();
    all
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let addresses = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim);
    // An IPv6 address may have a zone.
    addresses.filter_map(|address| address.split('%').next()?.parse().ok()).collect()
}

fn docker_dns(text: &str) -> Vec<IpAddr> {
    let parsed: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let servers = parsed["dns"].as_array().cloned().unwrap_or_default();
    servers.iter().filter_map(|server| server.as_str()?.parse().ok()).collect()
}

/// Makes the kernel pass packets between instances to the packet filter. Docker does this for its own networks.
fn filter_bridged_packets(files: &[&str]) -> Result<(), FirewallError> {
    for file in files {
        if fs::read_to_string(file).is_ok_and(|value| value.trim() == "1") {
            continue;
        }
        if !Path::new(file).exists() {
            // Its failure shows in the next line.
            let _ = Command::new("modprobe").arg("br_netfilter").stdin(Stdio::null()).output();
        }
        fs::write(file, "1").map_err(FirewallError::Neighbours)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_resolv_conf_and_docker_are_parsed() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 10.0.0.2\n nameserver\tfe80::1%eth0\nnameserver x\n";
        let parsed: Vec<String> = name_servers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(parsed, ["10.0.0.2", "fe80::1"]);
        assert_eq!(docker_dns(r#"{"dns": ["9.9.9.9", 3, "x"]}"#), ["9.9.9.9".parse::<IpAddr>().unwrap()]);
        assert!(docker_dns("not json").is_empty() && docker_dns(r#"{"bip": ""}"#).is_empty());
    }
}
