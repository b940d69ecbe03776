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
    /// How often each kind of fault is injected.
    pub rounds: usize,
    /// No fault is injected after this many minutes.
    pub minutes: u64,
    pub topology: Topology,
    pub replicas: usize,
    pub agents: usize,
    pub clients: usize,
    /// Maximum number of a user's instances.
    pub quota: u32,
    /// The system must be healthy this many seconds after each fault.
    pub heals_within: u64,
    /// The kinds of faults; all if empty.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// The share of faults that come with another one at the same time.
    #[serde(default)]
    pub pairs: f64,
    /// The longest that a fault is held, in milliseconds.
    #[serde(default)]
    pub max_hold_ms: u64,
    /// Whether the run measures the availability: only probes send requests, and each kind of fault is held for its time in
    /// [`crate::availability::ROWS`].
    #[serde(default)]
    pub measures_availability: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// One nats-server, one mongod.
    R1,
    /// Three of each.
    R3,
}

/// The kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Replica,
    Nats,
    Mongod,
    Agent,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// The kind of a fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];
        }
    };
}

kinds! {
    /// `kill -9`, then a restart.
    KillReplica,
    KillLeader,
    KillReplicas,
    KillNats,
    /// The node that leads EVENTS.
    KillNatsLeader,
    KillTwoNats,
    /// Of three, the primary.
    KillMongod,
    KillTwoMongods,
    KillAgent,
    KillAll,
    /// SIGSTOP, then SIGCONT.
    PauseReplica,
    PauseLeader,
    PauseNats,
    PauseNatsLeader,
    PauseMongod,
    PauseAgent,
    /// One process after another is stopped with SIGTERM and started again.
    RollReplicas,
    RollNats,
    RollMongods,
    /// Packets are dropped, mostly in both directions.
    CutReplicaFromNats,
    CutReplicaFromMongods,
    CutReplicaFromClients,
    CutAgentFromNats,
    CutNatsFromNats,
    /// One node from both others.
    CutNatsFromOthers,
    /// A minority of the broker and the database with one replica from everything else.
    CutSides,
    /// A share of the packets is dropped.
    LossyReplica,
    LossyAgent,
    LossyNats,
    /// All that it sends and receives arrives later.
    SlowReplica,
    SlowLeader,
    SlowAgent,
    SlowNats,
    /// The node that leads EVENTS.
    SlowNatsLeader,
    /// Of three, the primary.
    SlowMongod,
    /// Then there is space again, and nats-server is restarted, as `docs/OPERATIONS.md` says.
    FullNats,
    FullMongod,
    /// SIGKILL of everything; what was not synced is lost.
    Power,
    /// The same, some seconds after a rolling restart of the broker.
    PowerAfterRoll,
    PowerOneNats,
    /// A node of the broker is replaced by an empty one.
    EmptyNats,
    DropDatabase,
    /// The database is replaced by an older copy of its files.
    OldDatabase,
    /// The wall clock jumps, and back.
    ClockReplica,
    ClockAgent,
}

impl Kind {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it needs more than one broker node or database member.
    #[must_use]
    pub const fn needs_cluster(self) -> bool {
        matches!(
            self,
            Self::KillNatsLeader
                | Self::KillTwoNats
                | Self::KillTwoMongods
                | Self::PauseNatsLeader
                | Self::SlowNatsLeader
                | Self::CutNatsFromNats
                | Self::CutNatsFromOthers
                | Self::CutSides
                | Self::LossyNats
                | Self::PowerOneNats
                | Self::EmptyNats
        )
    }

    /// Whether a client must see it. Clients send no requests to agents, and a cluster tolerates the loss of a node.
    #[must_use]
    pub const fn must_be_visible(self, topology: Topology) -> bool {
        match self {
            Self::KillReplica | Self::KillLeader | Self::KillReplicas => true,
            Self::KillNats | Self::KillMongod => matches!(topology, Topology::R1),
            _ => false,
        }
    }
}

/// A sign that a fault took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    pub what: String,
    pub confirmed: bool,
}

/// One fault, or two at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    pub kinds: Vec<Kind>,
    /// The affected processes, by their indices.
    pub targets: Vec<(Part, usize)>,
    /// Details.
    pub what: String,
    pub begun: Moment,
    /// When it began to end: killed processes are started from then on.
    #[serde(default)]
    pub ending: Option<Moment>,
    pub healed: Moment,
    pub evidence: Vec<Evidence>,
    /// Milliseconds after `healed` until each probe had succeeded; absent if that took longer than the plan permits.
    pub well_after_ms: Option<u64>,
    /// Milliseconds after `healed` until `/health` of each replica had said `healthy`, so that the system could bear the
    /// next fault; absent if that took longer than the plan permits.
    #[serde(default)]
    pub healthy_after_ms: Option<u64>,
    /// Whether all processes were restarted afterwards, because the system did not become well.
    pub restarted: bool,
}

impl Injection {
    /// The names of its kinds.
    #[must_use]
    pub fn name(&self) -> String {
        self.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" + ")
    }
}

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {} from {} to {} ms", self.name(), self.targets, self.what, self.begun.ms, self.healed.ms)
    }
}

/// The report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub plan: Plan,
    pub history: Vec<Operation>,
    pub faults: Vec<Injection>,
    /// The kinds of faults that could not be injected here, with the reason.
    #[serde(default)]
    pub left_out: Vec<(Kind, String)>,
    pub observation: Observation,
    /// Why the system could not be observed at the end; the observation is then empty.
    #[serde(default)]
    pub unobserved: Option<String>,
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

    /// The folder of this plan's logs, beside its report.
    #[must_use]
    pub fn logs(plan: &Plan) -> PathBuf {
        Self::default_path(plan).with_file_name("logs")
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
