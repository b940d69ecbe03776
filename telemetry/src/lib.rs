//! What DockHost's programs tell of what they do: the lines of their logs, and traces.
//!
//! A trace is all that one request causes, over all processes. Its spans (a request, a command, an append, an assignment, what
//! an agent does) are spans of the crate `tracing`; those that begin where a message arrives have the id of the trace as a
//! field, so each line that is logged in them has it. With the feature `otlp`, spans are exported to a collector as well.
//!
//! - [`lines`]: the form of the log's lines. [`trace`]: the trace that a task works for. [`start`] starts both.
//! - `otlp`: the export.

pub mod lines;
#[cfg(feature = "otlp")]
mod otlp;
pub mod trace;

use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use lines::Format;

/// The collector that spans are to be exported to.
fn endpoint() -> Option<String> {
    dockhost_environment::variable("OTEL_EXPORTER_OTLP_ENDPOINT")
}

/// A layer over the registry of spans.
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What a program logs.
#[derive(Debug)]
pub struct Log {
    /// The name under which it exports spans, unless the environment names it.
    pub service: &'static str,
    /// The form of the lines.
    pub format: Format,
    /// The lines that are written.
    pub filter: EnvFilter,
    /// The finest levels that any filter may ask for, because below them are personal values or secrets.
    pub secrecy: Targets,
}

/// A log that is written. When this is dropped, the last spans are exported.
#[derive(Debug)]
#[must_use = "dropping it ends the export of spans"]
pub struct Running {
    #[cfg(feature = "otlp")]
    _exporter: Option<otlp::Exporter>,
}

/// Starts the log of this process, on standard error. Further calls in a process have no effect.
pub fn start(log: Log) -> Running {
    let lines: BoxedLayer = lines::layer(log.format).with_filter(log.filter.and(log.secrecy)).boxed();
    let (exported, problem, running) = export(log.service);
    let layers: Vec<BoxedLayer> = std::iter::once(lines).chain(exported).collect();
    let _ = tracing_subscriber::registry().with(layers).try_init();
    if let Some(problem) = problem {
        tracing::warn!("no spans are exported: {problem}");
    }
    running
}

#[cfg(feature = "otlp")]
fn export(service: &'static str) -> (Option<BoxedLayer>, Option<String>, Running) {
    let (exporter, problem) = match otlp::Exporter::of_environment(service) {
        Ok(exporter) => (exporter, None),
        Err(problem) => (None, Some(problem)),
    };
    (exporter.as_ref().map(otlp::Exporter::layer), problem, Running { _exporter: exporter })
}

#[cfg(not(feature = "otlp"))]
fn export(_: &'static str) -> (Option<BoxedLayer>, Option<String>, Running) {
    let problem = endpoint().map(|_| "this program was built without the feature otlp".to_owned());
    (None, problem, Running {})
}
