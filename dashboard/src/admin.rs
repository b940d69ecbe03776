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

use askama::filters::urlencode_strict;
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

impl<T> List<T> {
    /// Where the next page of the list at `path` is, if there is one.
    fn next_page(&self, path: &str) -> Option<String> {
        let Ok(cursor) = urlencode_strict(self.next_cursor.as_ref()?);
        Some(format!("{path}?cursor={cursor}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_of_a_list_has_the_cursor_encoded() {
        let list = |cursor: Option<&str>| List::<()> { items: vec![], next_cursor: cursor.map(str::to_owned) };
        let next = list(Some("dockhost.event.claim.a/b&c")).next_page("/admin/quarantine");
        assert_eq!(next.as_deref(), Some("/admin/quarantine?cursor=dockhost.event.claim.a%2Fb%26c"));
        assert_eq!(list(None).next_page("/admin/quarantine"), None);
    }
}
