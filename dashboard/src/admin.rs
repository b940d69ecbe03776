//! What the API answers administrators, with the words that pages use for it. The pages are in the modules below.

pub mod charts;
pub mod fleet;
pub mod fleet_map;
pub mod log;
pub mod overview;
pub mod people;
pub mod quarantine;
pub mod sessions;
pub mod settings;
pub mod triage;
pub mod usage;

use serde::Deserialize;
use serde_json::Value;

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next_cursor: None }
    }
}

/// A link that selects what a list shows.
#[derive(Debug, Clone)]
pub struct Chip {
    /// Its words.
    pub name: &'static str,
    /// Where it leads.
    pub address: String,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

/// A fraction such as 0.25 as `25 %`.
fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

/// A value of an event as text.
fn json_text(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
