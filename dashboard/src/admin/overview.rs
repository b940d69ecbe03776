//! What needs attention, and the service in numbers.

use std::collections::BTreeMap;

use askama::Template;
use serde::Deserialize;

use super::List;
use super::charts::Charts;
use super::fleet::Machine;
use super::log::OwnedInstance;
use super::triage::{Matter, triage, well};
use crate::instance::memory;
use crate::pages::Frame;

/// The health of the replica that answers.
#[derive(Debug, Clone, Deserialize)]
pub struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// The parts that are down.
    pub down: Vec<String>,
    /// What is wrong or will soon be, each as a sentence.
    pub problems: Vec<String>,
    /// The machines that send heartbeats.
    pub backends: u64,
    /// The machines.
    pub fleet: Fleet,
    /// For how many seconds it has run.
    pub uptime: u64,
    /// The event log.
    pub log: Log,
    /// The read models, by name.
    pub projections: BTreeMap<String, Projection>,
    /// What can't be read.
    pub quarantined: Quarantine,
}

/// The machines in numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Those that are approved.
    pub registered: u64,
    /// What is wrong with machines.
    pub problems: Vec<FleetProblem>,
    /// Whether so many are silent at once that none is given up.
    pub mass_failure: bool,
}

/// A problem of machines.
#[derive(Debug, Clone, Deserialize)]
pub struct FleetProblem {
    /// One sentence about each of them.
    pub reason: String,
    /// How many have it.
    pub count: u64,
}

/// The event log.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// The bytes that its events take.
    pub bytes: Option<u64>,
    /// How many they may take.
    pub max_bytes: Option<u64>,
}

/// A read model.
#[derive(Debug, Clone, Deserialize)]
pub struct Projection {
    /// How many events it is behind.
    pub lag: u64,
    /// Why it has stopped.
    pub stopped: Option<Stopped>,
}

/// Why a read model has stopped.
#[derive(Debug, Clone, Deserialize)]
pub struct Stopped {
    /// Why.
    pub why: String,
    /// The command that repairs it, if one does.
    pub run: Option<String>,
}

/// What the servers can't read.
#[derive(Debug, Clone, Deserialize)]
pub struct Quarantine {
    /// How much of it there is.
    pub count: u64,
    /// Some of it.
    pub entries: Vec<Quarantined>,
}

/// What the servers can't read.
#[derive(Debug, Clone, Deserialize)]
pub struct Quarantined {
    /// What the event is about.
    pub subject: String,
    /// The event's sequence in the log.
    pub sequence: u64,
    /// Why it can't be read.
    pub why: String,
}

/// The refused sign-ins of all servers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusals {
    /// Those of the last 10 minutes.
    pub last_ten_minutes: u64,
    /// Those of the hour before.
    pub hour_before: u64,
    /// Whether there are many more than before.
    pub is_rising: bool,
}

impl Log {
    /// How full it is, in percent.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let (bytes, max) = (self.bytes?, self.max_bytes?);
        bytes.saturating_mul(100).checked_div(max)
    }

    /// Its size in words.
    #[must_use]
    pub fn size(&self) -> String {
        let mib = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        match (self.bytes, self.max_bytes) {
            (Some(bytes), Some(max)) => format!("{} of {}", memory(mib(bytes)), memory(mib(max))),
            (Some(bytes), None) => memory(mib(bytes)),
            _ => "not known".to_owned(),
        }
    }
}

/// What needs attention, and the numbers.
#[derive(Debug, Template)]
#[template(path = "admin/parts/overview.html")]
pub struct Overview {
    /// The health of the replica that answers.
    pub health: Health,
    /// The machines; an error in words if they could not be read.
    pub machines: Result<Vec<Machine>, String>,
    /// The instances whose operation is overdue; an error in words if they could not be read.
    pub overdue: Result<List<OwnedInstance>, String>,
    /// The refused sign-ins.
    pub refusals: Refusals,
}

impl Overview {
    fn matters(&self) -> Vec<Matter> {
        let Self { health, machines, overdue, refusals } = self;
        let none = List::default();
        triage(health, machines.as_deref().unwrap_or_default(), overdue.as_ref().unwrap_or(&none), refusals)
    }

    /// Empty while it is not known what is well.
    fn well(&self) -> Vec<String> {
        let Self { health, machines, overdue, refusals } = self;
        let (Ok(machines), Ok(overdue)) = (machines, overdue) else { return Vec::new() };
        well(health, machines, overdue, refusals)
    }

    fn instances(&self) -> u32 {
        self.machines.iter().flatten().map(|machine| machine.instances).sum()
    }

    fn room(&self) -> u32 {
        let usable = self.machines.iter().flatten().filter(|machine| machine.tone() == "good");
        usable.map(|machine| machine.max_containers.saturating_sub(machine.instances)).sum()
    }

    fn lag(&self) -> u64 {
        self.health.projections.values().map(|projection| projection.lag).max().unwrap_or(0)
    }
}

/// `/admin`.
#[derive(Debug, Template)]
#[template(path = "admin/overview.html")]
pub struct OverviewPage {
    /// The frame.
    pub frame: Frame,
    /// What it shows.
    pub overview: Overview,
    /// The charts.
    pub charts: Charts,
}
