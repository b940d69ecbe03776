//! Links between hosts: cut (a partition, in both directions or in one) or lossy.

use dockhost_harness::Host;
use dockhost_harness::hosts::{Rule, Traffic, disturb};
use futures::future::LocalBoxFuture;
use rand::Rng;
use rand::rngs::StdRng;

use super::process::{self, Which};
use super::{Context, Effect, Fault};
use crate::report::{Evidence, Part};
use crate::system::System;

/// Which links a fault disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Those of one process to all of another part.
    OneToAll(Part, Part),
    /// That between two nodes of the broker.
    TwoNodes,
    /// Those of one node of the broker to the others; replicas and agents still reach it.
    NodeToNodes,
    /// A node of the broker, a member of the database and a replica on one side, all others on the other.
    Sides,
    /// Those of a replica to its clients.
    ReplicaToClients,
}

#[derive(Debug)]
pub struct Link {
    links: Links,
    lossy: bool,
    rules: Vec<Rule>,
}

impl Link {
    #[must_use]
    pub const fn cut(links: Links) -> Self {
        Self { links, lossy: false, rules: Vec::new() }
    }

    #[must_use]
    pub const fn lossy(links: Links) -> Self {
        Self { links, lossy: true, rules: Vec::new() }
    }
}

/// Two groups of hosts whose links are disturbed, with the processes of the first group.
struct Groups {
    first: Vec<Host>,
    second: Vec<Host>,
    targets: Vec<(Part, usize)>,
}

impl Fault for Link {
    fn begin<'a>(&'a mut self, context: &'a mut Context<'_>) -> LocalBoxFuture<'a, Effect> {
        Box::pin(async move {
            let groups = groups(self.links, context.system, context.random).await;
            let traffic = if self.lossy { Traffic::Lossy(context.random.random_range(50..300)) } else { Traffic::Cut };
            // A lossy link is lossy in both directions; a third of the cuts is in one only.
            let directions = if self.lossy { 0 } else { context.random.random_range(0..6) };
            let (out, back) = (directions != 1, directions != 2);
            for first in &groups.first {
                for second in &groups.second {
                    self.rules.extend(out.then(|| disturb(first, second, traffic)).flatten());
                    self.rules.extend(back.then(|| disturb(second, first, traffic)).flatten());
                }
            }
            let direction = match (out, back) {
                (true, true) => "both directions",
                (true, false) => "what it sends",
                _ => "what it receives",
            };
            let names = |hosts: &[Host]| hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>().join(", ");
            let what = format!("{} | {}: {traffic:?}, {direction}", names(&groups.first), names(&groups.second));
            Effect { targets: groups.targets, evidence: Vec::new(), what }
        })
    }

    fn end<'a>(&'a mut self, _: &'a mut System) -> LocalBoxFuture<'a, Vec<Evidence>> {
        Box::pin(async move {
            let dropped: u64 = self.rules.iter().map(Rule::dropped).sum();
            for rule in self.rules.drain(..) {
                rule.remove().unwrap();
            }
            vec![Evidence { what: format!("{dropped} packets were dropped"), confirmed: dropped > 0 }]
        })
    }
}

async fn groups(links: Links, system: &System, random: &mut StdRng) -> Groups {
    let host = |part, n| process::host(system, part, n).clone();
    let all = |part| 0..process::count(system, part);
    match links {
        Links::OneToAll(one, other) => {
            let which = if one == Part::Replica && random.random_bool(0.5) { Which::Leader } else { Which::Any };
            let n = process::select(system, one, which, random).await[0];
            let second = all(other).map(|n| host(other, n)).collect();
            Groups { first: vec![host(one, n)], second, targets: vec![(one, n)] }
        }
        Links::ReplicaToClients => {
            let n = random.random_range(all(Part::Replica));
            let clients = system.world.hosts.as_ref().map(dockhost_harness::Hosts::clients);
            Groups {
                first: vec![host(Part::Replica, n)],
                second: clients.into_iter().collect(),
                targets: vec![(Part::Replica, n)],
            }
        }
        Links::TwoNodes => {
            let two = process::select(system, Part::Nats, Which::Two, random).await;
            let targets = two.iter().map(|n| (Part::Nats, *n)).collect();
            Groups { first: vec![host(Part::Nats, two[0])], second: vec![host(Part::Nats, two[1])], targets }
        }
        Links::NodeToNodes => {
            let which = if random.random_bool(0.6) { Which::Leader } else { Which::Any };
            let n = process::select(system, Part::Nats, which, random).await[0];
            let second = all(Part::Nats).filter(|other| *other != n).map(|n| host(Part::Nats, n)).collect();
            Groups { first: vec![host(Part::Nats, n)], second, targets: vec![(Part::Nats, n)] }
        }
        Links::Sides => {
            let which = if random.random_bool(0.7) { Which::Leader } else { Which::Any };
            let node = process::select(system, Part::Nats, which, random).await[0];
            let replica = random.random_range(all(Part::Replica));
            let member = random.random_range(all(Part::Mongod));
            let minority = vec![(Part::Nats, node), (Part::Replica, replica), (Part::Mongod, member)];
            let parts = [Part::Nats, Part::Replica, Part::Mongod, Part::Agent];
            let others = parts.into_iter().flat_map(|part| all(part).map(move |n| (part, n)));
            let second = others.filter(|one| !minority.contains(one)).map(|(part, n)| host(part, n)).collect();
            Groups { first: minority.iter().map(|(part, n)| host(*part, *n)).collect(), second, targets: minority }
        }
    }
}
