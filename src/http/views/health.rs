//! The health of a replica.

use std::collections::BTreeMap;

use dockhost_projections::store::BuildStatus;
use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::agent_gate::GateCounts;
use crate::broker::store_room::NodeRoom;
use crate::replica::fleet_health::FleetHealth;
use crate::replica::projection_progress::StopReason;

/// Whether this replica can serve.
#[derive(Serialize, ToSchema)]
pub struct Health {
    pub status: HealthStatus,
    pub phase: Phase,
    /// The parts that are down.
    pub down: Vec<Part>,
    /// What is wrong or will soon be, in plain words; empty if all is well.
    pub problems: Vec<String>,
    pub database: Connection,
    pub broker: Connection,
    /// Backends that send heartbeats.
    pub backends: usize,
    pub fleet: FleetCounts,
    pub clients: ClientCounts,
    /// Seconds since this replica started.
    pub uptime: u64,
    pub log: LogHealth,
    /// The broker's node whose store is fullest; null while that is not known, and always without
    /// `DOCKHOST_NATS_SYS_CREDS`.
    #[schema(required)]
    pub store: Option<StoreHealth>,
    /// Each read model, by name.
    pub projections: BTreeMap<&'static str, ProjectionHealth>,
    pub quarantined: QuarantineHealth,
}

/// - `healthy`: a command sent now is stored and carried out.
/// - `degraded`: this replica serves, but some data lacks events, the log or the broker's store is nearly full, the broker lacks
///   a node, or a role of the leader does not get on.
/// - `unhealthy`: this replica can't serve all requests: parts are `down`, or it is not in the phase `serving`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Healthy,
    Degraded,
    Unhealthy,
}

impl HealthStatus {
    /// Whether requests should be sent to this replica.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// - `catching_up`: this replica does not know the whole log yet, or does not receive it.
/// - `serving`.
/// - `stopping`: this replica shuts down. It serves for a few seconds more; send new requests to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    CatchingUp,
    Serving,
    Stopping,
}

/// Whether this replica should get requests.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    pub status: HealthStatus,
    pub phase: Phase,
    /// The parts that are down.
    pub down: Vec<Part>,
}

/// That this process answers.
#[derive(Serialize, ToSchema)]
pub struct Liveness {
    /// Always true.
    pub live: bool,
    /// Seconds since this replica started.
    pub uptime: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Database,
    Broker,
    /// The broker acknowledges no writes, so commands fail.
    Writes,
    /// A stream of the broker that commands need has no leader, or stores nothing.
    Streams,
    /// No server leads, so commands are not carried out.
    Leader,
    /// This machine's clock differs by more than 30 s from the broker's.
    Clock,
}

/// Whether a server that this replica needs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    Connected,
    Disconnected,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 6] = [Self::Database, Self::Broker, Self::Writes, Self::Streams, Self::Leader, Self::Clock];

    /// Its name, as in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Broker => "broker",
            Self::Writes => "writes",
            Self::Streams => "streams",
            Self::Leader => "leader",
            Self::Clock => "clock",
        }
    }
}

/// The backends in numbers, as this replica hears them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetCounts {
    /// Those that are registered and approved.
    pub registered: usize,
    /// Those that await an administrator's approval; the other numbers do not count them.
    pub pending: usize,
    /// Those of the registered ones that an administrator keeps new instances away from.
    pub cordoned: usize,
    /// Those of the connected ones that can't take new instances.
    pub degraded: usize,
    /// What is wrong with backends, and with how many.
    pub problems: Vec<BackendProblem>,
    /// Whether so many backends with instances are silent at once that none of these is given up.
    pub mass_failure: bool,
    /// Backends whose keys are refused now because they sent too many messages.
    pub refused: usize,
    /// Messages of backends beyond their limits that this replica has dropped since it started.
    pub dropped_messages: u64,
}

/// A problem of backends.
#[derive(Serialize, ToSchema)]
pub struct BackendProblem {
    /// One sentence about each of them.
    pub reason: &'static str,
    pub count: usize,
}

impl FleetCounts {
    /// From what this replica hears and has dropped.
    pub fn new(fleet: FleetHealth, GateCounts { refused, dropped: dropped_messages }: GateCounts) -> Self {
        let FleetHealth { registered, pending, cordoned, connected: _, degraded, problems, mass_failure } = fleet;
        let problems =
            problems.into_iter().map(|(problem, count)| BackendProblem { reason: problem.text(), count }).collect();
        Self { registered, pending, cordoned, degraded, problems, mass_failure, refused, dropped_messages }
    }
}

/// Clients of this replica that are told of events as they happen.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCounts {
    /// Event streams that are open, those of Socket.IO clients among them.
    pub event_streams: u64,
    /// Clients that are connected by Socket.IO.
    pub socket_io: u64,
}

/// The log, as this replica knows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogHealth {
    /// The last sequence in the log; null if the broker is down.
    #[schema(required)]
    pub end: Option<u64>,
    /// The last sequence that this replica has applied.
    pub position: u64,
    /// Whether this replica receives the log and has caught up.
    pub following: bool,
    /// Bytes that the events take; null until they are known.
    #[schema(required)]
    pub bytes: Option<u64>,
    /// The log's limit (`DOCKHOST_LOG_MAX_BYTES`); from 90 % on, only commands are accepted that end something. Null if it
    /// is not known or there is none.
    #[schema(required)]
    pub max_bytes: Option<u64>,
}

/// The store of a node of the broker, as the node sees it: it does not know how full its disk is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreHealth {
    pub node: String,
    /// Bytes that all streams together may still take.
    pub bytes_left: u64,
    /// Bytes that they may take in all.
    pub max_bytes: u64,
}

impl From<NodeRoom> for StoreHealth {
    fn from(room: NodeRoom) -> Self {
        Self { bytes_left: room.left(), max_bytes: room.max, node: room.node }
    }
}

/// How far a read model is.
#[derive(Serialize, ToSchema)]
pub struct ProjectionHealth {
    /// The last sequence that it has.
    pub position: u64,
    /// Sequences between `position` and the last event that concerns it.
    pub lag: u64,
    /// Only if it has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stopped: Option<Stopped>,
    /// Only while it is rebuilt beside the live documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub building: Option<Building>,
}

/// The progress of a rebuild.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Building {
    /// The fold version of the new documents.
    pub fold_version: u32,
    /// The sequence up to which the log is folded.
    pub done: u64,
    /// The sequence to which it will be folded.
    pub total: u64,
}

/// Why a read model has stopped.
#[derive(Serialize, ToSchema)]
pub struct Stopped {
    pub why: String,
    /// The command that repairs it, if one does.
    #[schema(required)]
    pub run: Option<String>,
}

/// The quarantined aggregates.
#[derive(Serialize, ToSchema)]
pub struct QuarantineHealth {
    pub count: usize,
    /// The first 20.
    pub entries: Vec<QuarantineEntry>,
}

/// An aggregate with an event that can't be read.
#[derive(Serialize, ToSchema)]
pub struct QuarantineEntry {
    pub subject: String,
    pub sequence: u64,
    pub why: String,
    /// The read models that lack its events.
    pub models: Vec<&'static str>,
}

impl From<bool> for Connection {
    fn from(answers: bool) -> Self {
        if answers { Self::Connected } else { Self::Disconnected }
    }
}

impl From<BuildStatus> for Building {
    fn from(BuildStatus { fold_version, done, total, .. }: BuildStatus) -> Self {
        Self { fold_version, done, total }
    }
}

impl From<StopReason> for Stopped {
    fn from(StopReason { why, run }: StopReason) -> Self {
        Self { why, run }
    }
}
