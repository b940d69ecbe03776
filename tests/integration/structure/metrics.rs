//! The metrics against `docs/OPERATIONS.md`, the alert rules and the dashboard.

use std::collections::BTreeSet;
use std::time::Duration;

use dockhost::metrics::memory::Memory;
use dockhost::metrics::{Metrics, Route};
use serde_json::Value;

use super::{assert_same, code_words, set, text};

/// The text of metrics each of which has a value.
fn sample() -> String {
    let metrics = Metrics::default();
    let route = Route { method: "GET", route: "/health".to_owned() };
    metrics.requests.record(route, 200, Duration::from_millis(1));
    metrics.log.record_append("stored", Duration::from_millis(1));
    metrics.log.record_event("tenancy", Some("requested"));
    metrics.log.record_operation("create");
    metrics.leader.record_restart("timers");
    metrics.leader.record_timer(Duration::from_millis(1));
    metrics.webhooks.record_delivery("delivered");
    metrics.webhooks.set_oldest(Duration::ZERO);
    metrics.state.set_down("database", false);
    metrics.state.set_backends("connected", 1);
    metrics.state.set_instances([("running".to_owned(), 1)]);
    metrics.state.set_lag("users", 0, 0.0);
    metrics.state.set_memory(Memory::default());
    metrics.text().unwrap()
}

/// The names of all metrics, without what is added for the samples of counters and histograms.
fn metrics() -> BTreeSet<String> {
    sample().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

/// The names of all samples.
fn samples() -> BTreeSet<String> {
    let text = sample();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// The words of a text that are names of this project's metrics.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("dockhost_")).map(str::to_owned).collect()
}

#[test]
fn operations_page_lists_every_metric() {
    let page = text("docs/OPERATIONS.md");
    let listed = code_words(&page).into_iter().filter(|word| word.starts_with("dockhost_"));
    let listed = listed.map(|word| word.split('{').next().unwrap().to_owned());
    assert_same(("docs/OPERATIONS.md", set(listed)), ("the code", set(metrics())));
}

#[test]
fn alert_rules_use_existing_samples() {
    let rules: Value = serde_yaml_ng::from_str(&text("deploy/prometheus-alerts.yml")).unwrap();
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let samples = samples();
    let mut count = 0;
    for rule in rules {
        count += 1;
        let (alert, used) = (&rule["alert"], names(rule["expr"].as_str().unwrap()));
        assert!(!used.is_empty(), "{alert} uses no metric");
        let unknown: Vec<_> = used.difference(&samples).collect();
        assert!(unknown.is_empty(), "{alert} uses {unknown:?}, which don't exist");
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{alert}");
    }
    assert!(count >= 10, "too few rules: {count}");
}

#[test]
fn dashboard_uses_existing_samples_and_every_metric_of_the_rules() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana-dashboard.json")).unwrap();
    let samples = samples();
    let (mut ids, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the id of another panel");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let used = names(target["expr"].as_str().unwrap());
            let unknown: Vec<_> = used.difference(&samples).collect();
            assert!(!used.is_empty() && unknown.is_empty(), "{title} uses {unknown:?}, which don't exist");
            shown.extend(used);
        }
    }
    assert!(names(&dashboard["templating"].to_string()).is_subset(&samples));
    // What there is an alert for can be seen, apart from what is 1 only while the alert lasts.
    let rules = names(&text("deploy/prometheus-alerts.yml").replace("dockhost_memory_high", ""));
    let hidden: Vec<_> = rules.intersection(&samples).filter(|name| !shown.contains(*name)).collect();
    assert!(hidden.is_empty(), "the dashboard does not show {hidden:?}");
}
