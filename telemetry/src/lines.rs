//! The lines of a log: as text, or as JSON (`DOCKHOST_LOG=json`).

use std::io::IsTerminal;
use std::str::FromStr;

use dockhost_environment::variable;
use tracing_subscriber::Layer;

use crate::BoxedLayer;

/// The form of a log's lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object for each line.
    Json,
}

impl Format {
    /// That of `DOCKHOST_LOG`.
    ///
    /// # Errors
    /// One sentence about an invalid value.
    pub fn read() -> Result<Self, String> {
        variable("DOCKHOST_LOG").map_or(Ok(Self::default()), |value| value.parse())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("DOCKHOST_LOG={other:?}: it must be one of: text, json")),
        }
    }
}

/// Writes lines to standard error.
pub(crate) fn layer(format: Format) -> BoxedLayer {
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_text_unless_json_is_asked_for() {
        assert_eq!(Format::default(), Format::Text);
        assert_eq!(["text", "json"].map(str::parse), [Ok(Format::Text), Ok(Format::Json)]);
        assert!("JSON".parse::<Format>().is_err());
    }
}
