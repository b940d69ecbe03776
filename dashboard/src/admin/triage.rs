//! Decides what needs an administrator's attention, and what does not. Pure.

use super::List;
use super::fleet::Machine;
use super::log::OwnedInstance;
use super::overview::{Health, Projection, Quarantined, Refusals, Stopped};

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    /// The class of its colour.
    pub tone: &'static str,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// Where to go, with its words.
    pub link: Option<(String, &'static str)>,
}

impl Matter {
    fn new(tone: &'static str, what: String, hint: &str) -> Self {
        Self { tone, what, hint: hint.to_owned(), link: None }
    }

    fn at(self, address: String, words: &'static str) -> Self {
        Self { link: Some((address, words)), ..self }
    }
}

/// From this share of its limit on, the size of the log needs attention, in percent.
const LOG_FULL_PERCENT: u64 = 85;
/// A read model that is more events behind needs attention.
const MUCH_BEHIND: u64 = 1_000;
/// So many overdue operations are named one by one.
const NAMED_OVERDUE: usize = 3;

/// The operations that should have ended.
fn overdue_matters(overdue: &List<OwnedInstance>) -> Vec<Matter> {
    let hint = "The leader ends each operation at its deadline. If it does not, look at the servers' logs.";
    if overdue.items.len() <= NAMED_OVERDUE {
        let matter = |OwnedInstance { instance, owner }: &OwnedInstance| {
            let status = instance.status.word().to_lowercase();
            let what = format!("{} of {} is overdue: it is still {status}", instance.title(), owner.title());
            let address = format!("/admin/instances/{}", instance.instance_id);
            Matter::new("bad", what, hint).at(address, "Look at it")
        };
        return overdue.items.iter().map(matter).collect();
    }
    let or_more = if overdue.next_cursor.is_some() { " or more" } else { "" };
    let what = format!("{}{or_more} operations are overdue", overdue.items.len());
    vec![Matter::new("bad", what, hint).at("/admin/instances?overdue=true".to_owned(), "Look at them")]
}

/// What needs attention, the worst first; empty if nothing does.
#[must_use]
pub fn triage(
    health: &Health,
    machines: &[Machine],
    overdue: &List<OwnedInstance>,
    refusals: &Refusals,
) -> Vec<Matter> {
    let mut matters = Vec::new();
    let parts = health.down.iter();
    matters.extend(parts.map(|part| Matter::new("bad", format!("The {part} is down"), "Requests that need it fail.")));
    let problems = health.problems.iter();
    matters.extend(problems.map(|problem| Matter::new("bad", capitalised(problem), "OPERATIONS.md says what to do.")));
    if health.fleet.mass_failure {
        let hint = "None is given up, because a fault of the network is more likely.";
        matters.push(Matter::new("bad", "Very many machines are silent at once".to_owned(), hint));
    }
    for machine in machines.iter().filter(|machine| machine.needs_attention()) {
        let address = format!("/admin/machines/{}", machine.id);
        let what = format!("{}: {}", machine.title(), machine.word());
        let hint = match machine.status.as_str() {
            "pending" => "It takes no instances before you approve it.".to_owned(),
            "lost" => "Its instances can't be reached. They go on when it is back.".to_owned(),
            _ => machine.problems().join(" "),
        };
        matters.push(Matter::new(machine.tone(), what, &hint).at(address, "Look at it"));
    }
    for Quarantined { subject, sequence, why } in &health.quarantined.entries {
        let what = format!("{subject} can't be read from event {sequence} on");
        let matter = Matter::new("bad", what, &format!("{}.", capitalised(why)));
        matters.push(matter.at("/admin/quarantine".to_owned(), "Look at it"));
    }
    let unnamed = health.quarantined.count.saturating_sub(health.quarantined.entries.len() as u64);
    if unnamed > 0 {
        let matter = Matter::new("bad", format!("{unnamed} more aggregates can't be read"), "All else goes on.");
        matters.push(matter.at("/admin/quarantine".to_owned(), "Look at them"));
    }
    matters.extend(overdue_matters(overdue));
    if refusals.is_rising {
        let what = format!("Refused sign-ins are rising: {} in 10 minutes", refusals.last_ten_minutes);
        let hint = format!("There were {} in the hour before. The log has their sources.", refusals.hour_before);
        matters.push(Matter::new("warn", what, &hint).at("/admin/log?type=refusals".to_owned(), "Look at the log"));
    }
    for (name, projection) in &health.projections {
        if let Some(Stopped { why, run }) = &projection.stopped {
            let hint = run
                .as_ref()
                .map_or_else(|| capitalised(why), |run| format!("{}. `{run}` repairs it.", capitalised(why)));
            matters.push(Matter::new("bad", format!("The read model {name} has stopped"), &hint));
        } else if projection.lag > MUCH_BEHIND {
            let what = format!("The read model {name} is {} events behind", projection.lag);
            matters.push(Matter::new("warn", what, "Lists show an earlier state."));
        }
    }
    if let Some(percent) = health.log.percent().filter(|percent| *percent >= LOG_FULL_PERCENT) {
        let hint = "From 90 % on, only commands are accepted that end something.";
        matters.push(Matter::new("warn", format!("The event log is {percent} % full"), hint));
    }
    matters.sort_by_key(|matter| matter.tone != "bad");
    matters.dedup_by(|a, b| a.what == b.what);
    matters
}

/// What needs none, each as a sentence.
#[must_use]
pub fn well(health: &Health, machines: &[Machine], overdue: &List<OwnedInstance>, refusals: &Refusals) -> Vec<String> {
    let connected = machines.iter().filter(|machine| !machine.needs_attention()).count();
    let is_current = |one: &Projection| one.stopped.is_none() && one.lag <= MUCH_BEHIND;
    let log = health.log.percent().filter(|percent| *percent < LOG_FULL_PERCENT);
    let sentences = [
        health.down.is_empty().then(|| "Database, broker and leader answer.".to_owned()),
        (connected > 0).then(|| format!("{connected} of {} machines need no attention.", machines.len())),
        overdue.items.is_empty().then(|| "No operation is overdue.".to_owned()),
        (health.quarantined.count == 0).then(|| "Every event of the log can be read.".to_owned()),
        health.projections.values().all(is_current).then(|| "The read models are up to date.".to_owned()),
        log.map(|percent| format!("The event log is {percent} % full.")),
        (!refusals.is_rising).then(|| match refusals.last_ten_minutes {
            0 => "No sign-in was refused in the last 10 minutes.".to_owned(),
            1 => "1 sign-in was refused in the last 10 minutes, no more than usual.".to_owned(),
            refused => format!("{refused} sign-ins were refused in the last 10 minutes, no more than usual."),
        }),
    ];
    sentences.into_iter().flatten().collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn health(changes: &Value) -> Health {
        let mut health = json!({
            "status": "healthy", "down": [], "problems": [], "backends": 1, "uptime": 60,
            "fleet": { "registered": 1, "problems": [], "massFailure": false }, "log": { "bytes": 10, "maxBytes": 1000 },
            "projections": { "users": { "lag": 0 } }, "quarantined": { "count": 0, "entries": [] },
        });
        for (name, value) in changes.as_object().unwrap() {
            health[name] = value.clone();
        }
        serde_json::from_value(health).unwrap()
    }

    fn overdue(count: usize, next_cursor: Option<&str>) -> List<OwnedInstance> {
        let one = |number: usize| {
            json!({
                "instanceId": number.to_string(), "name": "web", "status": "stopping", "size": null, "cpu": 1.0,
                "memoryMib": 512, "sshDetails": null, "sshKeys": [], "createdAt": "2026-11-24T08:00:15.000Z",
                "owner": { "id": "1", "username": "ada" },
            })
        };
        let items: Vec<_> = (0..count).map(one).collect();
        serde_json::from_value(json!({ "items": items, "nextCursor": next_cursor })).unwrap()
    }

    fn what(matters: &[Matter]) -> Vec<&str> {
        matters.iter().map(|matter| matter.what.as_str()).collect()
    }

    #[test]
    fn triage_of_a_healthy_service_is_empty_and_all_is_well() {
        let (health, none, refusals) = (health(&json!({})), List::default(), Refusals::default());
        assert_eq!(triage(&health, &[], &none, &refusals), Vec::<Matter>::new());
        let expected = [
            "Database, broker and leader answer.",
            "No operation is overdue.",
            "Every event of the log can be read.",
            "The read models are up to date.",
            "The event log is 1 % full.",
            "No sign-in was refused in the last 10 minutes.",
        ];
        assert_eq!(well(&health, &[], &none, &refusals), expected);
    }

    #[test]
    fn triage_names_few_overdue_operations_and_counts_many() {
        let health = health(&json!({}));
        let matters = |overdue| triage(&health, &[], &overdue, &Refusals::default());
        let one = matters(overdue(1, None));
        assert_eq!(what(&one), ["web of ada is overdue: it is still stopping"]);
        assert_eq!(one[0].link, Some(("/admin/instances/0".to_owned(), "Look at it")));
        assert_eq!(what(&matters(overdue(4, None))), ["4 operations are overdue"]);
        assert_eq!(what(&matters(overdue(4, Some("x")))), ["4 or more operations are overdue"]);
    }

    #[test]
    fn triage_has_rising_refusals_and_counts_the_quarantined_that_it_does_not_name() {
        let health = health(&json!({ "quarantined": { "count": 3, "entries": [] } }));
        let refusals = Refusals { last_ten_minutes: 57, hour_before: 12, is_rising: true };
        let matters = triage(&health, &[], &List::default(), &refusals);
        let expected = ["3 more aggregates can't be read", "Refused sign-ins are rising: 57 in 10 minutes"];
        assert_eq!(what(&matters), expected);
        let sentences = well(&health, &[], &List::default(), &refusals);
        assert!(!sentences.iter().any(|one| one.contains("refused") || one.contains("can be read")), "{sentences:?}");
    }

    #[test]
    fn triage_names_each_fault_the_worst_first() {
        let health = health(&json!({
            "down": ["database"], "log": { "bytes": 900, "maxBytes": 1000 },
            "projections": { "users": { "lag": 5000 }, "audit": { "lag": 0, "stopped": { "why": "it is too old", "run": null } } },
            "quarantined": { "count": 1, "entries": [{ "subject": "tenancy.1", "sequence": 7, "why": "unknown type" }] },
        }));
        let matters = triage(&health, &[], &List::default(), &Refusals::default());
        let matters: Vec<_> = matters.into_iter().map(|matter| (matter.tone, matter.what)).collect();
        let expected = [
            ("bad", "The database is down"),
            ("bad", "tenancy.1 can't be read from event 7 on"),
            ("bad", "The read model audit has stopped"),
            ("warn", "The read model users is 5000 events behind"),
            ("warn", "The event log is 90 % full"),
        ];
        assert_eq!(matters, expected.map(|(tone, what)| (tone, what.to_owned())));
    }
}
