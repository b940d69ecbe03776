//! The service's own log: what is shown, and how.
//!
//! In: `RUST_LOG`, else `DEBUG` (`dockhost:*`, `dockhost:http,dockhost:leader`), else the usual level. Out: lines on
//! standard error. `DEBUG`'s areas are the modules of this crate.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

const USUAL: &str = "warn,dockhost=info";

/// The filter that a `DEBUG` value stands for.
fn directives(debug: &str) -> String {
    let areas = debug.split(',').map(str::trim).filter_map(|area| area.strip_prefix("dockhost:"));
    let shown = areas.map(|area| match area {
        "*" => "dockhost=debug".to_owned(),
        area => format!("dockhost::{}=debug", area.replace(':', "::")),
    });
    std::iter::once(USUAL.to_owned()).chain(shown).collect::<Vec<_>>().join(",")
}

/// Starts the log. Only the first call of a process counts.
pub fn start() {
    let debug = std::env::var("DEBUG").unwrap_or_default();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(&debug)));
    // An error says that a log runs already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_areas_are_modules() {
        assert_eq!(directives(""), USUAL);
        assert_eq!(directives("dockhost:*"), format!("{USUAL},dockhost=debug"));
        assert_eq!(
            directives("dockhost:http, express:*,dockhost:leader:timers"),
            format!("{USUAL},dockhost::http=debug,dockhost::leader::timers=debug"),
        );
    }
}
