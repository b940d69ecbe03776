//! The report: everything that a checker needs, in one file that is kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::{Moment, Operation};
use crate::observation::Observation;

/// What was run: the same plan does the same things again, as far as timing lets it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    pub seed: u64,
    /// How often each kind of fault was wanted.
    pub rounds: usize,
    /// After so many minutes no further fault is begun.
    pub minutes: u64,
    pub topology: Topology,
    pub replicas: usize,
    pub agents: usize,
    pub clients: usize,
    /// Instances that a user may have.
    pub quota: u32,
    /// Seconds after the last fault within which all must be well.
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

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// `kill -9`, and a start afterwards.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` afterwards.
    Pause,
}

/// Which kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Replica,
    Nats,
    Mongod,
    Agent,
}

/// A fault that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    pub act: Act,
    pub part: Part,
    /// Which of them; with several at once, all.
    pub targets: Vec<usize>,
    pub begun: Moment,
    pub healed: Moment,
    /// The processes, with whether the kernel said that each was gone or stopped.
    pub processes: Vec<(u32, bool)>,
    /// The request in whose outcome it showed, where clients can see it.
    pub shown_by: Option<String>,
}

/// What is kept of a run.
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
    /// When the file can't be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = std::io::BufWriter::new(std::fs::File::create(path)?);
        serde_json::to_writer(file, self).map_err(Into::into)
    }

    /// Reads one that was kept.
    ///
    /// # Errors
    /// When the file can't be read, or is not a report.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// Where a run of this plan keeps its report, below cargo's target directory.
    #[must_use]
    pub fn place(plan: &Plan) -> PathBuf {
        let topology = if plan.topology == Topology::R1 { "r1" } else { "r3" };
        dockhost_harness::target_tmp()
            .with_file_name("chaos")
            .join(format!("{}-{topology}", plan.seed))
            .join("report.json")
    }
}
