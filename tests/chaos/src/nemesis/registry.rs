//! The kinds of faults: what implements each, what it needs, and which ones a run injects in which order.

use std::collections::BTreeSet;

use dockhost_harness::hosts::Missing;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::Fault;
use super::clock::SkewedClock;
use super::database::{DropDatabase, OldCopy};
use super::down::Down;
use super::empty_node::EmptyNode;
use super::everything::KillAll;
use super::full_disk::FullDisk;
use super::link::{Link, Links};
use super::power::{Cut, Power};
use super::process::Which;
use super::roll::Roll;
use super::slow::Slow;
use crate::report::{Kind, Part, Plan, Topology};

/// A new fault of a kind.
#[must_use]
pub fn fault(kind: Kind) -> Box<dyn Fault> {
    match kind {
        Kind::KillReplica => Box::new(Down::killed(kind, Part::Replica, Which::Any)),
        Kind::KillLeader => Box::new(Down::killed(kind, Part::Replica, Which::Leader)),
        Kind::KillReplicas => Box::new(Down::killed(kind, Part::Replica, Which::All)),
        Kind::KillNats => Box::new(Down::killed(kind, Part::Nats, Which::Any)),
        Kind::KillNatsLeader => Box::new(Down::killed(kind, Part::Nats, Which::Leader)),
        Kind::KillTwoNats => Box::new(Down::killed(kind, Part::Nats, Which::Two)),
        Kind::KillMongod => Box::new(Down::killed(kind, Part::Mongod, Which::Leader)),
        Kind::KillTwoMongods => Box::new(Down::killed(kind, Part::Mongod, Which::Two)),
        Kind::KillAgent => Box::new(Down::killed(kind, Part::Agent, Which::Any)),
        Kind::KillAll => Box::new(KillAll),
        Kind::PauseReplica => Box::new(Down::paused(kind, Part::Replica, Which::Any)),
        Kind::PauseLeader => Box::new(Down::paused(kind, Part::Replica, Which::Leader)),
        Kind::PauseNats => Box::new(Down::paused(kind, Part::Nats, Which::Any)),
        Kind::PauseNatsLeader => Box::new(Down::paused(kind, Part::Nats, Which::Leader)),
        Kind::PauseMongod => Box::new(Down::paused(kind, Part::Mongod, Which::Leader)),
        Kind::PauseAgent => Box::new(Down::paused(kind, Part::Agent, Which::Any)),
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
        Kind::SlowReplica => Box::new(Slow::of(Part::Replica, Which::Any)),
        Kind::SlowLeader => Box::new(Slow::of(Part::Replica, Which::Leader)),
        Kind::SlowAgent => Box::new(Slow::of(Part::Agent, Which::Any)),
        Kind::SlowNats => Box::new(Slow::of(Part::Nats, Which::Any)),
        Kind::SlowNatsLeader => Box::new(Slow::of(Part::Nats, Which::Leader)),
        Kind::SlowMongod => Box::new(Slow::of(Part::Mongod, Which::Leader)),
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
        Kind::SlowReplica
        | Kind::SlowLeader
        | Kind::SlowAgent
        | Kind::SlowNats
        | Kind::SlowNatsLeader
        | Kind::SlowMongod => missing.delays.clone(),
        Kind::FullNats | Kind::FullMongod | Kind::Power | Kind::PowerAfterRoll | Kind::PowerOneNats => {
            missing.disks.clone()
        }
        Kind::ClockReplica | Kind::ClockAgent => missing.clocks.clone(),
        _ => None,
    }
}

/// What a fault takes: two faults at once must not take the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Replicas,
    Nats,
    Mongods,
    Agents,
    Links,
    /// Of single packets. While the processes are down there may be none to lose.
    Losses,
    Delays,
    Clocks,
}

/// All processes, but neither their links nor their clocks.
const PROCESSES: &[Scope] = &[Scope::Replicas, Scope::Nats, Scope::Mongods, Scope::Agents, Scope::Losses];

const fn scopes(kind: Kind, topology: Topology) -> &'static [Scope] {
    match kind {
        Kind::KillReplica | Kind::KillLeader | Kind::PauseReplica | Kind::PauseLeader => &[Scope::Replicas],
        Kind::KillReplicas => &[Scope::Replicas, Scope::Losses],
        Kind::KillNats
        | Kind::KillNatsLeader
        | Kind::KillTwoNats
        | Kind::PauseNats
        | Kind::PauseNatsLeader
        | Kind::RollNats
        | Kind::FullNats
        | Kind::PowerOneNats
        | Kind::EmptyNats => &[Scope::Nats],
        Kind::KillMongod
        | Kind::KillTwoMongods
        | Kind::PauseMongod
        | Kind::RollMongods
        | Kind::FullMongod
        | Kind::DropDatabase
        | Kind::OldDatabase => &[Scope::Mongods],
        Kind::KillAgent | Kind::PauseAgent => &[Scope::Agents],
        // A replica starts only while it reaches a broker and a database, and its clock is right.
        Kind::RollReplicas => match topology {
            Topology::R1 => &[Scope::Replicas, Scope::Nats, Scope::Mongods, Scope::Links, Scope::Clocks],
            Topology::R3 => &[Scope::Replicas, Scope::Mongods, Scope::Links, Scope::Clocks],
        },
        Kind::KillAll | Kind::Power | Kind::PowerAfterRoll => PROCESSES,
        Kind::CutReplicaFromNats
        | Kind::CutReplicaFromMongods
        | Kind::CutReplicaFromClients
        | Kind::CutAgentFromNats
        | Kind::CutNatsFromNats
        | Kind::CutNatsFromOthers
        | Kind::CutSides => &[Scope::Links],
        Kind::LossyReplica | Kind::LossyAgent | Kind::LossyNats => &[Scope::Links, Scope::Losses],
        Kind::SlowReplica
        | Kind::SlowLeader
        | Kind::SlowAgent
        | Kind::SlowNats
        | Kind::SlowNatsLeader
        | Kind::SlowMongod => &[Scope::Delays],
        Kind::ClockReplica | Kind::ClockAgent => &[Scope::Clocks],
    }
}

/// Whether two faults may be injected at once.
fn fit(one: Kind, other: Kind, topology: Topology) -> bool {
    // Without a quorum of the broker no replica starts.
    let stops_starts = |one, other| one == Kind::RollReplicas && other == Kind::KillTwoNats;
    let shares = scopes(one, topology).iter().any(|scope| scopes(other, topology).contains(scope));
    !shares && !stops_starts(one, other) && !stops_starts(other, one)
}

/// The order in which the faults of a pair begin: links while there is traffic, and last what ends before its hold.
#[must_use]
pub const fn begin_rank(kind: Kind) -> u8 {
    match (kind, end_rank(kind)) {
        (Kind::RollReplicas | Kind::RollNats | Kind::RollMongods | Kind::OldDatabase | Kind::PowerAfterRoll, _) => 2,
        (_, 0) => 0,
        _ => 1,
    }
}

/// The order in which the faults of a pair end: a process can start only when what it needs is back.
#[must_use]
pub const fn end_rank(kind: Kind) -> u8 {
    match scopes(kind, Topology::R3) {
        [Scope::Links | Scope::Delays | Scope::Clocks, ..] => 0,
        [Scope::Replicas] | [Scope::Replicas, Scope::Losses] | [Scope::Agents] => 2,
        _ => 1,
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
    let (kinds, pairs, topology) = (kinds.to_vec(), plan.pairs, plan.topology);
    (0..plan.rounds).flat_map(move |_| {
        let mut round = kinds.clone();
        round.shuffle(&mut random);
        let mut injections: Vec<Vec<Kind>> = Vec::new();
        for kind in round {
            match injections.last_mut() {
                Some(last) if last.len() == 1 && fit(last[0], kind, topology) && random.random_bool(pairs) => {
                    last.push(kind);
                }
                _ => injections.push(vec![kind]),
            }
        }
        injections
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{fit, schedule};
    use crate::report::{Kind, Plan, Topology};

    fn plan(seed: u64, topology: Topology) -> Plan {
        Plan {
            seed,
            rounds: 20,
            minutes: 1,
            topology,
            replicas: 3,
            agents: 3,
            clients: 1,
            quota: 1,
            heals_within: 60,
            kinds: Vec::new(),
            pairs: 0.5,
            max_hold_ms: 1,
            measures_availability: false,
        }
    }

    #[test]
    fn schedule_each_round_has_each_kind_once() {
        let plan = Plan { rounds: 1, ..plan(3, Topology::R3) };
        let mut injected: Vec<Kind> = schedule(&plan, &Kind::ALL).flatten().collect();
        injected.sort();
        assert_eq!(injected, Kind::ALL);
    }

    #[test]
    fn schedule_pairs_contain_disks_power_cuts_and_rolls() {
        for topology in [Topology::R1, Topology::R3] {
            let pairs: Vec<Vec<Kind>> = schedule(&plan(1, topology), &Kind::ALL).filter(|one| one.len() == 2).collect();
            assert!(pairs.iter().all(|pair| fit(pair[0], pair[1], topology)), "{pairs:?}");
            let in_pairs: BTreeSet<Kind> = pairs.into_iter().flatten().collect();
            let alone: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !in_pairs.contains(kind)).collect();
            assert!(alone.is_empty(), "{topology:?}: never in a pair: {alone:?}");
        }
    }

    #[test]
    fn fit_faults_of_the_same_part_are_not_injected_at_once() {
        for topology in [Topology::R1, Topology::R3] {
            assert!(fit(Kind::Power, Kind::CutReplicaFromNats, topology));
            assert!(fit(Kind::FullNats, Kind::KillReplica, topology));
            assert!(fit(Kind::LossyNats, Kind::SlowNats, topology));
            assert!(!fit(Kind::Power, Kind::KillAgent, topology));
            assert!(!fit(Kind::KillNats, Kind::FullNats, topology));
            assert!(!fit(Kind::RollReplicas, Kind::CutReplicaFromNats, topology));
        }
        assert!(fit(Kind::RollReplicas, Kind::KillNats, Topology::R3));
        // It would have no broker to start with.
        assert!(!fit(Kind::RollReplicas, Kind::KillNats, Topology::R1));
        assert!(!fit(Kind::KillTwoNats, Kind::RollReplicas, Topology::R3));
    }
}
