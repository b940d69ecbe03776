//! The program's own log, on standard error.
//!
//! `RUST_LOG` filters it, or else `DEBUG` (`dockhost:*`, `dockhost:http,dockhost:leader`), whose areas are modules of this
//! crate. No filter shows what users entered: DockHost logs ids, and the level of the broker's client is limited.

use std::io::IsTerminal;

use dockhost_environment::variable;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The broker's client reports a failed connection as an event too, which `broker::connect` logs; and one is expected at
/// the start (`broker::access`).
const DEFAULT_FILTER: &str = "warn,dockhost=info,async_nats::connector=off";
/// Below this level the broker's client logs whole messages, with SSH keys and names of instances.
const BROKER_CLIENT_LIMIT: (&str, LevelFilter) = ("async_nats", LevelFilter::INFO);

/// The filter for a value of `DEBUG`.
fn directives(debug: &str) -> String {
    let areas = debug.split(',').map(str::trim).filter_map(|area| area.strip_prefix("dockhost:"));
    let enabled = areas.map(|area| match area {
        "*" => "dockhost=debug".to_owned(),
        area => format!("dockhost::{}=debug", area.replace(':', "::")),
    });
    std::iter::once(DEFAULT_FILTER.to_owned()).chain(enabled).collect::<Vec<_>>().join(",")
}

/// Starts the log. Further calls in a process have no effect.
pub fn start() {
    let filter = variable("RUST_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(directives(&variable("DEBUG").unwrap_or_default())));
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter.and(secrecy_filter()))).try_init();
}

/// Hides what could contain personal values.
fn secrecy_filter() -> Targets {
    Targets::new().with_default(LevelFilter::TRACE).with_target(BROKER_CLIENT_LIMIT.0, BROKER_CLIENT_LIMIT.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrecy_filter_hides_messages_of_the_broker() {
        let filter = secrecy_filter();
        for target in ["async_nats", "async_nats::connection", "async_nats::jetstream::context"] {
            assert!(filter.would_enable(target, &tracing::Level::INFO), "{target}");
            assert!(!filter.would_enable(target, &tracing::Level::DEBUG), "{target}");
        }
        assert!(filter.would_enable("dockhost::http", &tracing::Level::TRACE));
    }

    #[test]
    fn directives_debug_areas_are_modules() {
        assert_eq!(directives(""), DEFAULT_FILTER);
        assert_eq!(directives("dockhost:*"), format!("{DEFAULT_FILTER},dockhost=debug"));
        assert_eq!(
            directives("dockhost:http, express:*,dockhost:leader:timers"),
            format!("{DEFAULT_FILTER},dockhost::http=debug,dockhost::leader::timers=debug"),
        );
    }
}
