//! The service's own log: what is shown, and how.
//!
//! In: `RUST_LOG`, else `DEBUG` (`dockhost:*`, `dockhost:http,dockhost:leader`), else the usual level. Out: lines on
//! standard error. `DEBUG`'s areas are the modules of this crate. Whatever is asked for, nothing that people typed is
//! shown: our own lines name ids, and the broker's client, which shows whole messages, is kept from saying more than it
//! usually does.

use std::io::IsTerminal;

use dockhost_environment::variable;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const DEFAULT_FILTER: &str = "warn,dockhost=info";
/// Below this level the client shows what goes over the wire: SSH keys, and the names of instances.
const BROKER_CLIENT_LIMIT: (&str, LevelFilter) = ("async_nats", LevelFilter::INFO);

/// The filter that a `DEBUG` value stands for.
fn directives(debug: &str) -> String {
    let areas = debug.split(',').map(str::trim).filter_map(|area| area.strip_prefix("dockhost:"));
    let shown = areas.map(|area| match area {
        "*" => "dockhost=debug".to_owned(),
        area => format!("dockhost::{}=debug", area.replace(':', "::")),
    });
    std::iter::once(DEFAULT_FILTER.to_owned()).chain(shown).collect::<Vec<_>>().join(",")
}

/// Starts the log. Only the first call of a process counts.
pub fn start() {
    let filter = variable("RUST_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(directives(&variable("DEBUG").unwrap_or_default())));
    // An error says that a log runs already.
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter.and(secrecy_filter()))).try_init();
}

/// What is never shown.
fn secrecy_filter() -> Targets {
    Targets::new().with_default(LevelFilter::TRACE).with_target(BROKER_CLIENT_LIMIT.0, BROKER_CLIENT_LIMIT.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_never_shown() {
        let filter = secrecy_filter();
        for target in ["async_nats", "async_nats::connection", "async_nats::jetstream::context"] {
            assert!(filter.would_enable(target, &tracing::Level::INFO), "{target}");
            assert!(!filter.would_enable(target, &tracing::Level::DEBUG), "{target}");
        }
        assert!(filter.would_enable("dockhost::http", &tracing::Level::TRACE));
    }

    #[test]
    fn debug_areas_are_modules() {
        assert_eq!(directives(""), DEFAULT_FILTER);
        assert_eq!(directives("dockhost:*"), format!("{DEFAULT_FILTER},dockhost=debug"));
        assert_eq!(
            directives("dockhost:http, express:*,dockhost:leader:timers"),
            format!("{DEFAULT_FILTER},dockhost::http=debug,dockhost::leader::timers=debug"),
        );
    }
}
