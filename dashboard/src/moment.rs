//! A point in time as pages show it.

use askama::Template;
use serde::Deserialize;

/// A time of the API, such as `2026-11-22T10:00:15.000Z`. The browser shows how long ago it was, and the whole on hover.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Template)]
#[serde(transparent)]
#[template(ext = "html", source = r#"<time datetime="{{ iso }}">{{ self.text() }}</time>"#)]
pub struct Moment {
    iso: String,
}

impl Moment {
    /// As the API writes it.
    #[must_use]
    pub fn iso(&self) -> &str {
        &self.iso
    }

    /// What is shown without scripts: `2026-11-22 10:00:15 UTC`.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.iso.split(['.', 'Z']).next().unwrap_or_default();
        format!("{} UTC", seconds.replacen('T', " ", 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_is_shown_with_its_exact_time() {
        let moment: Moment = serde_json::from_str("\"2026-11-22T10:00:15.250Z\"").unwrap();
        let expected = r#"<time datetime="2026-11-22T10:00:15.250Z">2026-11-22 10:00:15 UTC</time>"#;
        assert_eq!(moment.to_string(), expected);
    }
}
