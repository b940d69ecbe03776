//! The agent's log, on standard error, filtered by `RUST_LOG`, as text or as JSON (`DOCKHOST_LOG=json`), and the export of its
//! spans.
//!
//! No filter shows what users entered or the API key: the agent itself logs ids, and the libraries, which log whole
//! messages and requests at the finer levels, are limited.

use dockhost_environment::variable;
use dockhost_telemetry::lines::Format;
use dockhost_telemetry::{Log, Running};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// `connect` logs the events of async-nats.
const DEFAULT_FILTER: &str = "warn,dockhost_agent=info,dockhost_telemetry=info,async_nats=off";
/// The finest level of the libraries.
const LIBRARY_LIMIT: LevelFilter = LevelFilter::INFO;

/// Starts the log. Further calls in a process have no effect.
pub fn start(format: Format) -> Running {
    let filter = variable("RUST_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    dockhost_telemetry::start(Log { service: "dockhost-agent", format, filter, secrecy: secrecy_filter() })
}

/// Hides what could contain personal values or the key.
fn secrecy_filter() -> Targets {
    Targets::new().with_default(LIBRARY_LIMIT).with_target(env!("CARGO_CRATE_NAME"), LevelFilter::TRACE)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn secrecy_filter_limits_all_but_the_agent() {
        let filter = secrecy_filter();
        for target in ["async_nats::connection", "bollard::docker", "hyper::proto", "another"] {
            assert!(filter.would_enable(target, &Level::INFO), "{target}");
            assert!(!filter.would_enable(target, &Level::DEBUG), "{target}");
        }
        assert!(filter.would_enable("dockhost_agent::connect", &Level::TRACE));
    }
}
