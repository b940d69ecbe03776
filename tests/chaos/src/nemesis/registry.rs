//! The kinds of faults: what implements each, what it needs, and which ones a run injects in which order.

use std::collections::BTreeSet;

use dockhost_harness::hosts::Missing;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::Fault;
use super::clock::SkewedClock;
use super::database::{DropDatabase, OldCopy};
use super::empty_node::EmptyNode;
use super::full_disk::FullDisk;
use super::kill::{Kill, KillAll};
use super::link::{Link, Links};
use super::pause::Pause;
use super::power::{Cut, Power};
use super::process::Which;
use super::roll::Roll;
use crate::report::{Kind, Part, Plan, Topology};

/// A new fault of a kind.
#[must_use]
pub fn fault(kind: Kind) -> Box<dyn Fault> {
    match kind {
        Kind::KillReplica => Box::new(Kill::of(kind, Part::Replica, Which::Any)),
        Kind::KillLeader => Box::new(Kill::of(kind, Part::Replica, Which::Leader)),
        Kind::KillReplicas => Box::new(Kill::of(kind, Part::Replica, Which::All)),
        Kind::KillNats => Box::new(Kill::of(kind, Part::Nats, Which::Any)),
        Kind::KillNatsLeader => Box::new(Kill::of(kind, Part::Nats, Which::Leader)),
        Kind::KillTwoNats => Box::new(Kill::of(kind, Part::Nats, Which::Two)),
        Kind::KillMongod => Box::new(Kill::of(kind, Part::Mongod, Which::Leader)),
        Kind::KillTwoMongods => Box::new(Kill::of(kind, Part::Mongod, Which::Two)),
        Kind::KillAgent => Box::new(Kill::of(kind, Part::Agent, Which::Any)),
        Kind::KillAll => Box::new(KillAll),
        Kind::PauseReplica => Box::new(Pause::of(Part::Replica, Which::Any)),
        Kind::PauseLeader => Box::new(Pause::of(Part::Replica, Which::Leader)),
        Kind::PauseNats => Box::new(Pause::of(Part::Nats, Which::Any)),
        Kind::PauseNatsLeader => Box::new(Pause::of(Part::Nats, Which::Leader)),
        Kind::PauseMongod => Box::new(Pause::of(Part::Mongod, Which::Leader)),
        Kind::PauseAgent => Box::new(Pause::of(Part::Agent, Which::Any)),
        Kind::RollReplicas => Box::new(Roll(Part::Replica)),
        Kind::RollNats => Box::new(Roll(Part::Nats)),
        Kind::RollMongods => Box::new(Roll(Part::Mongod)),
        Kind::CutReplicaFromNats => Box::new(Link::cut(Links::OneToAll(Part::Replica, Part::Nats))),
        Kind::CutReplicaFromMongods => Box::new(Link::cut(Links::OneToAll(Part::Replica, Part::Mongod))),
        Kind::CutReplicaFromClients => Box::new(Link::cut(Links::ReplicaToClients)),
        Kind::CutAgentFromNats => Box::new(Link::cut(Links::OneToAll(Part::Agent, Part::Nats))),
        Kind::CutNatsFromNats => Box::new(Link::cut(Links::TwoNodes)),
        Kind::CutNatsFromOthers => Box::new(Link::cut(Links::NodeToNodes)),
        Kind::CutSides => Box::new(Link::cut(Links::Sides)),
        Kind::LossyReplica => Box::new(Link::lossy(Links::OneToAll(Part::Replica, Part::Nats))),
        Kind::LossyAgent => Box::new(Link::lossy(Links::OneToAll(Part::Agent, Part::Nats))),
        Kind::LossyNats => Box::new(Link::lossy(Links::NodeToNodes)),
        Kind::FullNats => Box::new(FullDisk::of(Part::Nats)),
        Kind::FullMongod => Box::new(FullDisk::of(Part::Mongod)),
        Kind::Power => Box::new(Power::of(Cut::All)),
        Kind::PowerAfterRoll => Box::new(Power::of(Cut::AllAfterRoll)),
        Kind::PowerOneNats => Box::new(Power::of(Cut::One)),
        Kind::EmptyNats => Box::new(EmptyNode::default()),
        Kind::DropDatabase => Box::new(DropDatabase),
        Kind::OldDatabase => Box::new(OldCopy::default()),
        Kind::ClockReplica => Box::new(SkewedClock::of(Part::Replica)),
        Kind::ClockAgent => Box::new(SkewedClock::of(Part::Agent)),
    }
}

/// Why a kind can't be injected here.
#[must_use]
pub fn lacks(kind: Kind, topology: Topology, missing: &Missing) -> Option<String> {
    if topology == Topology::R1 && kind.needs_cluster() {
        return Some("it needs a cluster".to_owned());
    }
    match kind {
        Kind::CutReplicaFromNats
        | Kind::CutReplicaFromMongods
        | Kind::CutReplicaFromClients
        | Kind::CutAgentFromNats
        | Kind::CutNatsFromNats
        | Kind::CutNatsFromOthers
        | Kind::CutSides
        | Kind::LossyReplica
        | Kind::LossyAgent
        | Kind::LossyNats => missing.networks.clone(),
        Kind::FullNats | Kind::FullMongod | Kind::Power | Kind::PowerAfterRoll | Kind::PowerOneNats => {
            missing.disks.clone()
        }
        Kind::ClockReplica | Kind::ClockAgent => missing.clocks.clone(),
        _ => None,
    }
}

/// What a fault that may be one of a pair takes: two faults at once must not take the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Replicas,
    Nats,
    Mongods,
    Agents,
    Network,
    Clocks,
}

/// `None` for a fault that is injected alone.
const fn scope(kind: Kind) -> Option<Scope> {
    match kind {
        Kind::KillReplica | Kind::KillLeader | Kind::PauseReplica | Kind::PauseLeader => Some(Scope::Replicas),
        Kind::KillNats | Kind::KillNatsLeader | Kind::PauseNats | Kind::PauseNatsLeader | Kind::EmptyNats => {
            Some(Scope::Nats)
        }
        Kind::KillMongod | Kind::PauseMongod | Kind::FullMongod | Kind::DropDatabase => Some(Scope::Mongods),
        Kind::KillAgent | Kind::PauseAgent => Some(Scope::Agents),
        Kind::CutReplicaFromNats
        | Kind::CutReplicaFromMongods
        | Kind::CutAgentFromNats
        | Kind::CutNatsFromNats
        | Kind::CutNatsFromOthers
        | Kind::CutSides
        | Kind::LossyReplica
        | Kind::LossyAgent
        | Kind::LossyNats => Some(Scope::Network),
        Kind::ClockReplica | Kind::ClockAgent => Some(Scope::Clocks),
        _ => None,
    }
}

/// The order in which the faults of a pair end: a process can start only when what it needs is back.
#[must_use]
pub fn end_rank(kind: Kind) -> u8 {
    match scope(kind) {
        Some(Scope::Network | Scope::Clocks) => 0,
        Some(Scope::Mongods | Scope::Nats) | None => 1,
        Some(Scope::Replicas | Scope::Agents) => 2,
    }
}

/// The kinds that a plan injects here, and those it leaves out with the reason.
#[must_use]
pub fn kinds(plan: &Plan, missing: &Missing) -> (Vec<Kind>, Vec<(Kind, String)>) {
    let planned: BTreeSet<Kind> =
        if plan.kinds.is_empty() { Kind::ALL.into_iter().collect() } else { plan.kinds.iter().copied().collect() };
    let mut left_out = Vec::new();
    let mut injected = Vec::new();
    for kind in planned {
        match lacks(kind, plan.topology, missing) {
            Some(reason) => left_out.push((kind, reason)),
            None => injected.push(kind),
        }
    }
    (injected, left_out)
}

/// The faults of a plan, one or two at once, in an order that depends on the seed. Each round has all kinds.
pub fn schedule(plan: &Plan, kinds: &[Kind]) -> impl Iterator<Item = Vec<Kind>> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let (kinds, pairs) = (kinds.to_vec(), plan.pairs);
    (0..plan.rounds).flat_map(move |_| {
        let mut round = kinds.clone();
        round.shuffle(&mut random);
        let mut injections: Vec<Vec<Kind>> = Vec::new();
        for kind in round {
            match injections.last_mut() {
                Some(last) if last.len() == 1 && fit(last[0], kind) && random.random_bool(pairs) => last.push(kind),
                _ => injections.push(vec![kind]),
            }
        }
        injections
    })
}

fn fit(one: Kind, other: Kind) -> bool {
    matches!((scope(one), scope(other)), (Some(one), Some(other)) if one != other)
}
