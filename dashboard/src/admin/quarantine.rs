//! The aggregates with an event that the servers can't read.

use askama::Template;
use serde::Deserialize;

use super::List;
use crate::moment::Moment;
use crate::pages::Frame;

/// An aggregate with an event that can't be read.
#[derive(Debug, Clone, Deserialize)]
pub struct Aggregate {
    /// Its subject in the log.
    pub subject: String,
    /// The sequence of its first event that can't be read.
    pub sequence: u64,
    /// When that event was stored.
    pub since: Option<Moment>,
    /// What is wrong with it.
    pub why: String,
    /// The read models that lack its events.
    pub models: Vec<String>,
}

impl Aggregate {
    /// The kind and the id in its subject.
    fn parts(&self) -> (&str, &str) {
        let rest = self.subject.strip_prefix("dockhost.event.").unwrap_or(&self.subject);
        rest.split_once('.').unwrap_or((rest, ""))
    }

    /// What it is, in words.
    #[must_use]
    pub fn title(&self) -> String {
        match self.parts() {
            ("tenancy", _) => "The instances of one person".to_owned(),
            ("account", _) => "The account of one person".to_owned(),
            ("session", _) => "The sessions of one person or machine".to_owned(),
            ("backend", _) => "A machine".to_owned(),
            ("claim", _) => "A name or an email address that is taken".to_owned(),
            (kind, _) => kind.to_owned(),
        }
    }

    /// The page of the person or machine that it belongs to, with its words.
    #[must_use]
    pub fn link(&self) -> Option<(String, &'static str)> {
        match self.parts() {
            ("tenancy" | "account", id) => Some((format!("/admin/people/{id}"), "The person")),
            ("backend", id) => Some((format!("/admin/machines/{id}"), "The machine")),
            _ => None,
        }
    }

    /// Whether a retry can change anything.
    #[must_use]
    pub const fn can_retry(&self) -> bool {
        !self.models.is_empty()
    }
}

/// The quarantined aggregates.
#[derive(Debug, Template)]
#[template(path = "admin/parts/quarantine.html")]
pub struct Quarantine {
    /// The aggregates; an error in words if they could not be read.
    pub aggregates: Result<List<Aggregate>, String>,
    /// Where this page of the list begins.
    pub cursor: Option<String>,
}

/// `/admin/quarantine`.
#[derive(Debug, Template)]
#[template(path = "admin/quarantine.html")]
pub struct QuarantinePage {
    /// The frame.
    pub frame: Frame,
    /// The aggregates.
    pub list: Quarantine,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn aggregate(subject: &str, models: &[&str]) -> Aggregate {
        let since = "2026-11-24T08:00:15.000Z";
        let aggregate =
            json!({ "subject": subject, "sequence": 7, "since": since, "why": "<b>unknown</b>", "models": models });
        serde_json::from_value(aggregate).unwrap()
    }

    #[test]
    fn aggregate_leads_to_the_person_or_machine_that_it_belongs_to() {
        let link = |subject: &str| aggregate(subject, &[]).link().map(|(address, _)| address);
        assert_eq!(link("dockhost.event.tenancy.1"), Some("/admin/people/1".to_owned()));
        assert_eq!(link("dockhost.event.backend.2"), Some("/admin/machines/2".to_owned()));
        assert_eq!((link("dockhost.event.claim.x"), link("odd")), (None, None));
        assert_eq!(aggregate("odd", &[]).title(), "odd");
    }

    #[test]
    fn quarantine_offers_a_retry_where_a_read_model_lacks_events() {
        let list = |models: &[&str]| {
            let items = vec![aggregate("dockhost.event.tenancy.a/b&c", models)];
            let next_cursor = Some("a/b".to_owned());
            Quarantine { aggregates: Ok(List { items, next_cursor }), cursor: None }.render().unwrap()
        };
        let page = list(&["instances"]);
        assert!(page.contains("/api/v2/admin/quarantine/dockhost.event.tenancy.a%2Fb%26c/retry"), "{page}");
        assert!(page.contains("&#60;b&#62;unknown") && !page.contains("<b>unknown"), "{page}");
        let pager = r#"<p class="pager"><a class="link" href="/admin/quarantine?cursor=a%2Fb">Next page</a></p>"#;
        assert!(page.contains(pager), "{page}");
        assert!(!list(&[]).contains("data-path"));
    }
}
