//! The report of a run: everything that the checker needs, saved as one JSON file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::{Moment, Operation};
use crate::observation::Observation;

/// The parameters of a run. The same plan repeats the same requests and faults, but not their timing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub seed: u64,
    /// Kills per kind of process.
    pub rounds: usize,
    /// No fault is injected after this many minutes.
    pub minutes: u64,
    pub topology: Topology,
    pub replicas: usize,
    pub agents: usize,
    pub clients: usize,
    /// Maximum number of a user's instances.
    pub quota: u32,
    /// The system must be healthy this many seconds after the last fault.
    pub heals_within: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One nats-server, one mongod.
    R1,
    /// Three of each.
    R3,
}

/// What a fault does to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `kill -9`, then a restart.
    Kill,
    /// `SIGSTOP`, then `SIGCONT`.
    Pause,
}

/// The kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    Replica,
    Nats,
    Mongod,
    Agent,
}

/// An injected fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    #[serde(alias = "act")]
    pub action: Action,
    #[serde(alias = "part")]
    pub component: Component,
    /// The indices of the affected processes.
    pub targets: Vec<usize>,
    pub begun: Moment,
    pub healed: Moment,
    /// Process ids, each with whether the kernel confirmed that the process was gone or stopped.
    pub processes: Vec<(u32, bool)>,
    /// The id of a request whose outcome shows the fault, if clients can see it.
    #[serde(alias = "shownBy")]
    pub visible_in: Option<String>,
}

/// The report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub plan: Plan,
    pub history: Vec<Operation>,
    pub faults: Vec<Fault>,
    pub observation: Observation,
}

impl Report {
    /// Writes it as one JSON file.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = std::io::BufWriter::new(std::fs::File::create(path)?);
        serde_json::to_writer(file, self).map_err(Into::into)
    }

    /// Reads a saved report.
    ///
    /// # Errors
    /// If the file can't be read or is not a report.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// The path of this plan's report, below cargo's target directory.
    #[must_use]
    pub fn default_path(plan: &Plan) -> PathBuf {
        let topology = if plan.topology == Topology::R1 { "r1" } else { "r3" };
        dockhost_harness::target_tmp()
            .with_file_name("chaos")
            .join(format!("{}-{topology}", plan.seed))
            .join("report.json")
    }
}
