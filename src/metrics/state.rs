//! What is so at the moment: set when somebody asks.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::memory::Memory;

/// Seconds, or another number with a fraction.
type Fraction = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

/// What is so at the moment.
#[derive(Debug, Clone, Default)]
pub struct StateMetrics {
    /// 1 if this server should get requests.
    pub ready: Gauge,
    /// Seconds since this server started.
    pub uptime: Gauge,
    /// Sessions of users and backends that have neither ended nor expired.
    pub sessions: Gauge,
    /// Aggregates with an event that can't be read.
    pub quarantined: Gauge,
    /// The last sequence that this server has applied.
    pub log_position: Gauge,
    /// Bytes that the event log takes.
    pub log_bytes: Gauge,
    /// The limit of the event log in bytes.
    pub log_max_bytes: Gauge,
    /// Passwords that wait to be hashed.
    pub password_queue: Gauge,
    /// Event streams that are open, those of Socket.IO clients among them.
    pub event_streams: Gauge,
    socket_io_clients: Gauge,
    down: Family<Part, Gauge>,
    backends: Family<State, Gauge>,
    instances: Family<Status, Gauge>,
    lag_events: Family<Model, Gauge>,
    lag_seconds: Family<Model, Fraction>,
    memory_resident: Gauge,
    memory_used: Gauge,
    memory_limit: Gauge,
    memory_high: Gauge,
}

impl StateMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("ready", "1 if this server should get requests", &metrics.ready);
        gauge("uptime_seconds", "Seconds since this server started", &metrics.uptime);
        let help = "Sessions of users and backends that have neither ended nor expired, as of the last half minute";
        gauge("sessions", help, &metrics.sessions);
        gauge("quarantined_aggregates", "Aggregates with an event that can't be read", &metrics.quarantined);
        gauge("log_position", "The last sequence of the event log that this server has applied", &metrics.log_position);
        gauge("log_bytes", "Bytes that the event log takes", &metrics.log_bytes);
        gauge("log_max_bytes", "The limit of the event log in bytes; 0 if it is not known", &metrics.log_max_bytes);
        gauge("password_queue", "Passwords that wait to be hashed", &metrics.password_queue);
        let help = "Event streams that are open, those of Socket.IO clients among them";
        gauge("event_streams", help, &metrics.event_streams);
        gauge("socket_io_clients", "Clients that are connected by Socket.IO", &metrics.socket_io_clients);
        gauge("memory_resident_bytes", "Memory of this process", &metrics.memory_resident);
        gauge("memory_used_bytes", "Memory in use within memory_limit_bytes", &metrics.memory_used);
        let help = "The memory limit of this process's control group, or else the machine's memory";
        gauge("memory_limit_bytes", help, &metrics.memory_limit);
        gauge("memory_high", "1 while more than 80 % of memory_limit_bytes is in use", &metrics.memory_high);
        registry.register("down", "1 while a part is down that requests need", metrics.down.clone());
        registry.register("backends", "Backends, as this server hears them", metrics.backends.clone());
        let help = "Instances that are not deleted, as of the last half minute";
        registry.register("instances", help, metrics.instances.clone());
        let help = "Events that a read model lacks";
        registry.register("projection_lag_events", help, metrics.lag_events.clone());
        let help = "The age of the oldest event that a read model lacks, to the second; 0 if it lacks none";
        registry.register("projection_lag_seconds", help, metrics.lag_seconds.clone());
        metrics
    }

    /// Whether a part is down.
    pub fn set_down(&self, part: &'static str, is_down: bool) {
        self.down.get_or_create(&Part { part }).set(is_down.into());
    }

    /// A client is connected by Socket.IO until what this returns is dropped.
    #[must_use]
    pub fn connect_socket_io_client(&self) -> ConnectedClient {
        self.socket_io_clients.inc();
        ConnectedClient(self.socket_io_clients.clone())
    }

    /// How many clients are connected by Socket.IO.
    pub fn socket_io_clients(&self) -> u64 {
        self.socket_io_clients.get().try_into().unwrap_or_default()
    }

    /// How many backends are in a state.
    pub fn set_backends(&self, state: &'static str, count: usize) {
        self.backends.get_or_create(&State { state }).set(signed(count as u64));
    }

    /// How many instances have each status. Before the first call there are no samples: it is not known.
    pub fn set_instances(&self, counts: impl IntoIterator<Item = (String, u64)>) {
        self.instances.clear();
        for (status, count) in counts {
            self.instances.get_or_create(&Status { status }).set(signed(count));
        }
    }

    /// How far a read model is behind.
    pub fn set_lag(&self, model: &'static str, events: u64, seconds: f64) {
        self.lag_events.get_or_create(&Model { model }).set(signed(events));
        self.lag_seconds.get_or_create(&Model { model }).set(seconds);
    }

    /// The memory in use.
    pub fn set_memory(&self, memory: Memory) {
        self.memory_resident.set(signed(memory.resident));
        self.memory_used.set(signed(memory.used));
        self.memory_limit.set(signed(memory.limit));
        self.memory_high.set(memory.is_high().into());
    }
}

/// A client that is connected by Socket.IO.
#[derive(Debug)]
pub struct ConnectedClient(Gauge);

impl Drop for ConnectedClient {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A number for a gauge.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
