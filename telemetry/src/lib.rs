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

use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
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
    let lines: BoxedLayer = lines::layer(log.format).with_filter(uncached(log.filter.and(log.secrecy))).boxed();
    let (exported, problem, running) = export(log.service);
    let layers: Vec<BoxedLayer> = std::iter::once(lines).chain(exported).collect();
    let _ = tracing_subscriber::registry().with(layers).try_init();
    if let Some(problem) = problem {
        tracing::warn!("no spans are exported: {problem}");
    }
    running
}

/// A filter that is asked at each span and each line that it may let pass, instead of once for each place in the code.
///
/// A layer takes its filter's last answer, whatever the question was. A library that asks whether it should log something
/// would leave an answer behind, and a span or line whose place has a kept answer would take that one.
fn uncached<F: Filter<Registry>>(filter: F) -> impl Filter<Registry> {
    filter.and(dynamic_filter_fn(|_, _| true).with_max_level_hint(LevelFilter::TRACE))
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id};
    use tracing::subscriber::with_default;
    use tracing::{Event, dispatcher, info, info_span, trace_span};
    use tracing_subscriber::layer::Context;
    use tracing_subscriber::registry;

    use super::*;

    /// The targets of the spans and lines that reach this layer.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl Layer<Registry> for Seen {
        fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, Registry>) {
            self.0.lock().unwrap().push(span.metadata().target());
        }

        fn on_event(&self, line: &Event<'_>, _: Context<'_, Registry>) {
            self.0.lock().unwrap().push(line.metadata().target());
        }
    }

    #[test]
    fn question_of_a_library_whether_it_should_log_hides_no_span_and_no_line() {
        let too_fine = with_default(registry(), || trace_span!("too-fine").metadata().unwrap());
        let seen = Seen::default();
        let subscriber = registry().with(seen.clone().with_filter(uncached(EnvFilter::new("info"))));
        let ask = || dispatcher::get_default(|log| log.enabled(too_fine));
        with_default(subscriber, || {
            ask();
            let span = info_span!(target: "span", "one");
            ask();
            span.in_scope(|| info!(target: "line", "one"));
        });
        assert_eq!(*seen.0.lock().unwrap(), ["span", "line"]);
    }
}
