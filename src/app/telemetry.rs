//! The program's own log, on standard error, as text or as JSON (`DOCKHOST_LOG=json`), and the export of its spans.
//!
//! `RUST_LOG` filters it, or else `DEBUG` (`dockhost:*`, `dockhost:auth,dockhost:leader`): an area is one of those of
//! `common::areas`, with the modules that belong to it, or a module of this crate. No filter shows what users entered:
//! DockHost logs ids, and the levels of libraries that log messages are limited.

use dockhost_environment::variable;
use dockhost_telemetry::lines::Format;
use dockhost_telemetry::{Log, Running};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::common::areas;

/// The broker's client reports a failed connection as an event too, which `broker::connect` logs; and one is expected at
/// the start (`broker::access`).
const DEFAULT_FILTER: &str = "warn,dockhost=info,async_nats::connector=off";
/// Below INFO these libraries log whole messages, or the hosts that they connect to: the broker's client SSH keys and names of
/// instances, Socket.IO tokens and API keys, the HTTP client the hosts in the URLs of webhooks.
const LIMITED_LIBRARIES: [&str; 6] = ["async_nats", "engineioxide", "socketioxide", "reqwest", "hyper_util", "rustls"];

/// The modules that belong to areas, beside the lines that have the area as their target.
const MODULES: [(&str, &[&str]); 3] = [
    (areas::AUTH, &["dockhost::broker::callout"]),
    (
        areas::BACKEND,
        &[
            "dockhost::broker",
            "dockhost::leader::intake",
            "dockhost::leader::liveness",
            "dockhost::replica::heartbeat_registry",
            "dockhost::http::sockets::backends",
        ],
    ),
    (areas::CONTAINER, &["dockhost::leader::dispatcher", "dockhost::leader::timers"]),
];

/// The filter for a value of `DEBUG`.
fn directives(debug: &str) -> String {
    let words = debug.split(',').map(str::trim).filter_map(|area| area.strip_prefix("dockhost:"));
    let targets = words.flat_map(|area| match area {
        "*" => vec!["dockhost".to_owned()],
        area => {
            let target = format!("dockhost::{}", area.replace(':', "::"));
            let modules = MODULES.iter().find(|(area, _)| *area == target).map_or(&[][..], |(_, modules)| modules);
            let modules: Vec<_> = modules.iter().map(|module| (*module).to_owned()).collect();
            std::iter::once(target).chain(modules).collect()
        }
    });
    let enabled = targets.map(|target| format!("{target}=debug"));
    std::iter::once(DEFAULT_FILTER.to_owned()).chain(enabled).collect::<Vec<_>>().join(",")
}

/// The variables that are read here, in the crate `dockhost_telemetry` and in the SDK of its export.
pub const VARIABLES: [&str; 6] =
    ["DEBUG", "DOCKHOST_LOG", "RUST_LOG", "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"];
/// The variable with the URL of the collector, in which somebody may have put a password.
pub const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Starts the log. Further calls in a process have no effect.
pub fn start(format: Format) -> Running {
    let filter = variable("RUST_LOG").and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(directives(&variable("DEBUG").unwrap_or_default())));
    dockhost_telemetry::start(Log { service: "dockhost", format, filter, secrecy: secrecy_filter() })
}

/// Hides what could contain personal values.
fn secrecy_filter() -> Targets {
    let limits = LIMITED_LIBRARIES.map(|library| (library, LevelFilter::INFO));
    Targets::new().with_default(LevelFilter::TRACE).with_targets(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrecy_filter_hides_messages_of_the_broker_and_of_socket_io_and_hosts_of_webhooks() {
        let filter = secrecy_filter();
        for target in [
            "async_nats",
            "async_nats::connection",
            "async_nats::jetstream::context",
            "engineioxide::transport::polling",
            "socketioxide::client",
            "reqwest::connect",
            "hyper_util::client::legacy::pool",
            "rustls::client::hs",
        ] {
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
        assert_eq!(
            directives("dockhost:auth,dockhost:access"),
            format!("{DEFAULT_FILTER},dockhost::auth=debug,dockhost::broker::callout=debug,dockhost::access=debug"),
        );
    }

    #[test]
    fn modules_of_areas_exist() {
        for module in MODULES.iter().flat_map(|(_, modules)| *modules) {
            let path = format!(
                "{}/src/{}",
                env!("CARGO_MANIFEST_DIR"),
                module.replacen("dockhost::", "", 1).replace("::", "/")
            );
            let exists = std::path::Path::new(&path).is_dir() || std::path::Path::new(&format!("{path}.rs")).is_file();
            assert!(exists, "{module}");
        }
    }
}
