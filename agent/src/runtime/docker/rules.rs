//! The isolation rules as text: what must be in a machine's packet filter, and the input that makes it so.
//!
//! The rules are compared in the form in which `iptables-save` prints them. A repair is one transaction of
//! `iptables-restore`, so the rules are never absent for a moment, and none of them exists twice.

use std::net::IpAddr;

/// Chain for connections to the host.
pub(super) const HOST_CHAIN: &str = "DOCKHOST-HOST";
/// Chain for connections that the host forwards.
pub(super) const FORWARD_CHAIN: &str = "DOCKHOST-OUT";
/// Private and shared networks, and link-local addresses such as the metadata address 169.254.169.254.
const PRIVATE_V4: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"];
/// Unique local and link-local addresses.
const PRIVATE_V6: [&str; 2] = ["fc00::/7", "fe80::/10"];
/// Router solicitation, neighbour solicitation and neighbour advertisement, without which IPv6 does not work at all.
const NEIGHBOUR_DISCOVERY: [u8; 3] = [133, 135, 136];

/// A packet filter: `iptables` or `ip6tables`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guard {
    /// The name of the instances' bridge, which need not exist yet.
    pub bridge: String,
    /// The name servers that instances may ask.
    pub resolvers: Vec<IpAddr>,
}

/// The chain that decides about forwarded connections first. Docker's is for such rules, but a firewall script may have
/// removed the jump to it, and Podman on a machine with Docker puts its rules before it.
pub(super) fn forward_chain(saved: &str) -> &'static str {
    let first = saved.lines().find(|line| line.starts_with("-A FORWARD ") && jump(line).is_none());
    if first == Some("-A FORWARD -j DOCKER-USER") { "DOCKER-USER" } else { "FORWARD" }
}

/// The rules that belong to DockHost, in order, and where the jumps must be. Two equal results mean equal protection.
pub(super) fn own_rules(saved: &str) -> Vec<&str> {
    let place = forward_chain(saved);
    let first = saved.lines().find(|line| line.starts_with("-A FORWARD "));
    let first = if place == "FORWARD" { first } else { None };
    let rules = saved.lines().filter(|line| jump(line).is_some() || own_chain(line));
    [place].into_iter().chain(first).chain(rules).collect()
}

/// Whether both jumps are there, each once and for this bridge.
pub(super) fn is_complete(saved: &str, guard: &Guard) -> bool {
    let jumps: Vec<&str> = saved.lines().filter(|line| jump(line).is_some()).collect();
    let wanted = jumps_of(guard, forward_chain(saved)).map(|rule| format!("-A {rule}"));
    jumps.len() == wanted.len() && wanted.iter().all(|rule| jumps.contains(&rule.as_str()))
}

/// The input of `iptables-restore --noflush` that replaces all rules of DockHost in one step.
pub(super) fn repair(family: Family, saved: &str, guard: &Guard) -> String {
    let mut lines = vec!["*filter".to_owned(), format!(":{HOST_CHAIN} - [0:0]"), format!(":{FORWARD_CHAIN} - [0:0]")];
    lines.extend(saved.lines().filter_map(jump).map(|rule| format!("-D {rule}")));
    lines.extend(chain_rules(family, guard).into_iter().map(|rule| format!("-A {rule}")));
    lines.extend(jumps_of(guard, forward_chain(saved)).map(|rule| format!("-I {rule}")));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

fn jumps_of(Guard { bridge, .. }: &Guard, forward: &str) -> [String; 2] {
    [format!("INPUT -i {bridge} -j {HOST_CHAIN}"), format!("{forward} -i {bridge} -j {FORWARD_CHAIN}")]
}

/// The rule after `-A `, if it is a jump to one of the chains.
fn jump(line: &str) -> Option<&str> {
    let rule = line.strip_prefix("-A ")?;
    [HOST_CHAIN, FORWARD_CHAIN].iter().any(|chain| rule.ends_with(&format!(" -j {chain}"))).then_some(rule)
}

fn own_chain(line: &str) -> bool {
    [HOST_CHAIN, FORWARD_CHAIN].iter().any(|chain| line.starts_with(&format!("-A {chain} ")))
}

fn chain_rules(family: Family, guard: &Guard) -> Vec<String> {
    let (private, reject) = match family {
        Family::V4 => (&PRIVATE_V4[..], "REJECT --reject-with icmp-port-unreachable"),
        Family::V6 => (&PRIVATE_V6[..], "REJECT --reject-with icmp6-port-unreachable"),
    };
    let mut rules = Vec::new();
    for chain in [HOST_CHAIN, FORWARD_CHAIN] {
        // Answers to incoming connections.
        rules.push(format!("{chain} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"));
        for address in guard.resolvers.iter().filter(|address| address.is_ipv4() == (family == Family::V4)) {
            for protocol in ["udp", "tcp"] {
                rules.push(format!("{chain} -d {address} -p {protocol} -m {protocol} --dport 53 -j RETURN"));
            }
        }
    }
    if family == Family::V6 {
        for kind in NEIGHBOUR_DISCOVERY {
            rules.push(format!("{HOST_CHAIN} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN"));
        }
    }
    rules.push(format!("{HOST_CHAIN} -j {reject}"));
    // Another instance. Applies to bridged packets because the kernel passes these to the packet filter.
    rules.push(format!("{FORWARD_CHAIN} -o {} -j {reject}", guard.bridge));
    rules.extend(private.iter().map(|network| format!("{FORWARD_CHAIN} -d {network} -j {reject}")));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            bridge: "dockhost0".to_owned(),
            resolvers: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        }
    }

    /// What `iptables-save` prints after this repair, as far as these rules are concerned.
    fn saved_after(repair: &str) -> String {
        let (mut jumps, mut rules) = (Vec::new(), Vec::new());
        for line in repair.lines() {
            if let Some(rule) = line.strip_prefix("-I ") {
                jumps.push(format!("-A {rule}"));
            } else if line.starts_with("-A ") {
                rules.push(line.to_owned());
            }
        }
        [vec!["-A FORWARD -j DOCKER-USER".to_owned()], jumps, rules].concat().join("\n")
    }

    #[test]
    fn repair_puts_both_jumps_where_they_are_evaluated_first() {
        let with_docker = repair(Family::V4, "-A FORWARD -j DOCKER-USER\n", &guard());
        assert!(with_docker.contains("\n-I INPUT -i dockhost0 -j DOCKHOST-HOST\n"), "{with_docker}");
        assert!(with_docker.contains("\n-I DOCKER-USER -i dockhost0 -j DOCKHOST-OUT\n"), "{with_docker}");
        // A firewall script has removed the jump to Docker's chain, or the engine is Podman, beside Docker or alone.
        let beside = "-A FORWARD -j NETAVARK_FORWARD\n-A FORWARD -j DOCKER-USER\n";
        for saved in [":DOCKER-USER - [0:0]\n", "-A FORWARD -j NETAVARK_FORWARD\n", beside] {
            let repair = repair(Family::V4, saved, &guard());
            assert!(repair.contains("\n-I FORWARD -i dockhost0 -j DOCKHOST-OUT\n"), "{saved}: {repair}");
        }
    }

    #[test]
    fn repair_removes_duplicates_and_jumps_of_another_bridge() {
        let saved = "-A INPUT -i dockhost0 -j DOCKHOST-HOST\n-A INPUT -i dockhost0 -j DOCKHOST-HOST\n\
                     -A FORWARD -i br-1 -j DOCKHOST-OUT\n-A FORWARD -j DOCKER-USER\n-A INPUT -j ufw-before";
        assert!(!is_complete(saved, &guard()));
        let repair = repair(Family::V4, saved, &guard());
        assert_eq!(repair.matches("-D INPUT -i dockhost0 -j DOCKHOST-HOST\n").count(), 2);
        assert_eq!(repair.matches("-D FORWARD -i br-1 -j DOCKHOST-OUT\n").count(), 1);
        assert_eq!(repair.matches("-D ").count(), 3, "rules of other programs stay: {repair}");
        assert!(is_complete(&saved_after(&repair), &guard()));
    }

    #[test]
    fn own_rules_change_with_each_removed_rule_and_with_nothing_else() {
        let saved = saved_after(&repair(Family::V4, "-A FORWARD -j DOCKER-USER\n", &guard()));
        let own = own_rules(&saved);
        let elsewhere = format!("-A INPUT -p tcp -j ACCEPT\n{saved}\n-A FORWARD -j ACCEPT");
        assert_eq!(own_rules(&elsewhere), own);
        for line in saved.lines() {
            let without: Vec<&str> = saved.lines().filter(|other| *other != line).collect();
            assert_ne!(own_rules(&without.join("\n")), own, "nobody would notice that {line:?} is gone");
        }
        // In FORWARD itself, another program's rule before the jump would decide first.
        let forward = "-A FORWARD -i dockhost0 -j DOCKHOST-OUT\n-A FORWARD -j NETAVARK_FORWARD";
        let behind = "-A FORWARD -j NETAVARK_FORWARD\n-A FORWARD -i dockhost0 -j DOCKHOST-OUT";
        assert_ne!(own_rules(forward), own_rules(behind));
    }

    #[test]
    fn chain_rules_allow_dns_only_to_the_resolvers() {
        let v4 = chain_rules(Family::V4, &guard()).join("\n");
        assert_eq!(v4.matches("--dport 53").count(), 4);
        assert_eq!(v4.matches("-d 10.0.0.2 -p udp -m udp --dport 53 -j RETURN").count(), 2);
        let v6 = chain_rules(Family::V6, &guard()).join("\n");
        assert_eq!(v6.matches("--dport 53").count(), 4);
        assert!(v6.contains("-d fd00::2 -p tcp -m tcp --dport 53 -j RETURN") && v6.contains("fc00::/7"), "{v6}");
    }
}
