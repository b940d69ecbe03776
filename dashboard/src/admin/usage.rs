//! How long instances ran in a period.

use askama::Template;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::pages::Frame;

/// How long instances ran in a period.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    /// By their owners.
    pub users: Vec<OfUser>,
    /// By the groups of these.
    pub groups: Vec<OfNamed>,
    /// By machines.
    pub backends: Vec<OfNamed>,
    /// Whether events are missing.
    pub stale: Option<IgnoredAny>,
}

/// How long the instances of a user ran.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfUser {
    /// The user's id.
    pub id: String,
    /// Their name, unless it was erased.
    pub username: Option<String>,
    /// Seconds.
    pub running_seconds: f64,
}

/// How long the instances of a group or on a machine ran.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfNamed {
    /// Its id.
    pub id: String,
    /// Its name, unless it is gone.
    pub name: Option<String>,
    /// Seconds.
    pub running_seconds: f64,
}

/// A part of the report, the longest time first.
#[derive(Debug)]
struct Part {
    id: &'static str,
    title: &'static str,
    rows: Vec<Row>,
}

impl Part {
    fn longest(&self) -> f64 {
        self.rows.first().map_or(1.0, |row| row.seconds.max(1.0))
    }
}

/// A row of a part.
#[derive(Debug)]
struct Row {
    name: String,
    address: Option<String>,
    seconds: f64,
}

impl Row {
    fn hours(&self) -> String {
        format!("{:.2} h", self.seconds / 3600.0)
    }
}

impl Report {
    fn parts(&self) -> Vec<Part> {
        let users = self.users.iter().map(|one| (one.id.clone(), one.username.clone(), one.running_seconds));
        let named = |all: &[OfNamed]| -> Vec<(String, Option<String>, f64)> {
            all.iter().map(|one| (one.id.clone(), one.name.clone(), one.running_seconds)).collect()
        };
        [
            ("by-person", "By person", Some("/admin/people"), users.collect()),
            ("by-group", "By group", None, named(&self.groups)),
            ("by-machine", "By machine", Some("/admin/machines"), named(&self.backends)),
        ]
        .map(|(id, title, below, all): (_, _, _, Vec<_>)| {
            let row = |(id, name, seconds): (String, Option<String>, f64)| Row {
                address: below.filter(|_| name.is_some()).map(|below| format!("{below}/{id}")),
                name: name.unwrap_or(id),
                seconds,
            };
            let mut rows: Vec<Row> = all.into_iter().map(row).collect();
            rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            Part { id, title, rows }
        })
        .into()
    }
}

/// `/admin/usage`.
#[derive(Debug, Template)]
#[template(path = "admin/usage.html")]
pub struct UsagePage {
    /// The frame.
    pub frame: Frame,
    /// The first day of the period, such as `2026-11-01`.
    pub from: String,
    /// Its last day.
    pub to: String,
    /// What was found; an error in words if it could not be read.
    pub report: Result<Report, String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_in_hours_the_longest_first_and_names_link_to_their_pages() {
        let report: Report = serde_json::from_value(json!({
            "users": [
                { "id": "1", "username": "ada", "runningSeconds": 1800.0 },
                { "id": "2", "username": null, "runningSeconds": 5400.0 },
            ],
            "groups": [{ "id": "3", "name": "<b>7b</b>", "runningSeconds": 7200.0 }],
            "backends": [{ "id": "4", "name": "lab-1", "runningSeconds": 7200.0 }],
        }))
        .unwrap();
        let rows: Vec<_> = report.parts().remove(0).rows;
        let shown: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.hours(), row.address.as_deref())).collect();
        let expected = [("2", "1.50 h".to_owned(), None), ("ada", "0.50 h".to_owned(), Some("/admin/people/1"))];
        assert_eq!(shown, expected);
        let frame = Frame { user: None, version: "0", has_docs: false };
        let (from, to) = ("2026-11-01".to_owned(), "2026-11-30".to_owned());
        let page = UsagePage { frame, from, to, report: Ok(report) }.render().unwrap();
        assert!(page.contains("/admin/usage/csv?from=2026-11-01&#38;to=2026-11-30"), "{page}");
        assert!(!page.contains("<b>7b") && page.contains("/admin/machines/4"), "{page}");
    }
}
