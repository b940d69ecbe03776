//! What happened to an instance, as the API answers it, with the words that pages use for it.

use serde::Deserialize;
use serde_json::Value;

use crate::moment::Moment;

/// A page of an instance's history, the first event first.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The events.
    pub items: Vec<Entry>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<Value>,
}

/// An event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its position in the log.
    pub position: String,
    /// When.
    pub time: Moment,
    /// Its type, such as `dockhost.tenancy.instance-requested.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who.
    pub actor: Actor,
    /// What led to it, such as `request:…`.
    pub cause: String,
    /// What it changed.
    pub changes: Vec<Change>,
    /// Why its machine was chosen, if it chose one.
    pub choice: Option<Choice>,
}

/// Why a machine was chosen for an instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The machine's name.
    pub backend: Option<String>,
    /// The instances on it at that time.
    pub used: u32,
    /// How many it takes.
    pub max_containers: u32,
    /// The machines that could take the instance, this one included.
    pub among: u32,
}

impl Choice {
    /// The reason as sentences.
    #[must_use]
    pub fn reason(&self) -> String {
        let Self { backend, used, max_containers, among } = self;
        let machine = backend.as_deref().unwrap_or("The machine");
        let room = format!("{machine} had {used} of at most {max_containers} instances");
        if *among == 1 {
            format!("{room}. No other machine could take this one.")
        } else {
            format!(
                "{room}. Of the {among} machines that could take this one, it was the least filled that refused none lately."
            )
        }
    }
}

impl History {
    /// Why the machine that was chosen last was chosen.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.items.iter().rev().find_map(|entry| entry.choice.as_ref())
    }

    /// The positions of the events, the first one first, separated by blanks.
    #[must_use]
    pub fn positions(&self) -> String {
        self.items.iter().map(|entry| entry.position.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// On whose behalf something happened.
#[derive(Debug, Clone, Deserialize)]
pub struct Actor {
    /// `user`, `admin`, `backend`, `system`, `operator` or `anonymous`.
    pub kind: String,
    /// The name, if the reader may know it.
    pub name: Option<String>,
}

/// A member with another value than before.
#[derive(Debug, Clone, Deserialize)]
pub struct Change {
    /// The member's name.
    pub member: String,
    /// Its value before.
    pub before: Value,
    /// Its value afterwards.
    pub after: Value,
}

impl Entry {
    /// The event in words: `Stop requested`.
    #[must_use]
    pub fn what(&self) -> String {
        let name = self.kind.split('.').rev().nth(1).unwrap_or(&self.kind);
        let words = match name {
            "placed" => "placed on another machine",
            "observed" => self.status_after().unwrap_or("reported by its machine"),
            "delete-requested" => "deletion requested",
            "administered" => "changed by an administrator",
            "keys-changed" => "SSH keys changed",
            "activity" => "somebody was connected",
            "moved" => "moved to another machine",
            "released" => "earlier container removed",
            name => name,
        };
        let words = words.replace('-', " ");
        let mut letters = words.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }

    /// The status to which it changed the instance.
    fn status_after(&self) -> Option<&str> {
        self.changes.iter().find(|change| change.member == "status")?.after.as_str()
    }

    /// Who did it, as the end of a sentence.
    #[must_use]
    pub fn who(&self) -> String {
        let Actor { kind, name } = &self.actor;
        match (kind.as_str(), name) {
            ("user", None) => "you".to_owned(),
            ("admin", None) => "an administrator".to_owned(),
            ("backend", Some(name)) => format!("machine {name}"),
            ("backend", None) => "a machine".to_owned(),
            ("system", _) => "the server".to_owned(),
            ("operator", _) => "an operator".to_owned(),
            (_, Some(name)) => name.clone(),
            (kind, None) => kind.to_owned(),
        }
    }
}

impl Change {
    /// The member's name in words: `ssh port`.
    #[must_use]
    pub fn title(&self) -> String {
        let mut words = String::new();
        for letter in self.member.chars() {
            if letter.is_uppercase() {
                words.push(' ');
            }
            words.extend(letter.to_lowercase());
        }
        words
    }

    /// The value before, as text.
    #[must_use]
    pub fn text_before(&self) -> String {
        text(&self.before)
    }

    /// The value afterwards, as text.
    #[must_use]
    pub fn text_after(&self) -> String {
        text(&self.after)
    }
}

/// A value for people: no quotes, no brackets.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{name}: {}", text(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str, actor: &Value) -> Entry {
        let entry = json!({
            "position": "log.1", "time": "2026-11-22T10:00:15.000Z", "type": kind, "actor": actor, "cause": "request:1",
            "changes": [],
        });
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn entry_says_what_happened_and_by_whom() {
        let entry = |name: &str| entry(&format!("dockhost.instance.{name}"), &json!({ "kind": "user" }));
        let requested = entry("stop-requested.v1");
        assert_eq!((requested.what(), requested.who()), ("Stop requested".to_owned(), "you".to_owned()));
        let mut observed = entry("observed.v1");
        assert_eq!(observed.what(), "Reported by its machine");
        let change = json!({ "member": "status", "before": "creating", "after": "running" });
        observed.changes.push(serde_json::from_value(change).unwrap());
        assert_eq!(observed.what(), "Running");
    }

    #[test]
    fn choice_says_what_was_compared() {
        let choice = |among| {
            let choice = json!({ "backend": "lab-1", "used": 3, "maxContainers": 20, "among": among });
            serde_json::from_value::<Choice>(choice).unwrap().reason()
        };
        assert_eq!(choice(1), "lab-1 had 3 of at most 20 instances. No other machine could take this one.");
        let expected = "lab-1 had 3 of at most 20 instances. Of the 4 machines that could take this one, it was the least filled that \
                        refused none lately.";
        assert_eq!(choice(4), expected);
    }

    #[test]
    fn change_is_shown_without_the_syntax_of_json() {
        let change: Change = serde_json::from_value(json!({
            "member": "sshPort", "before": null, "after": [{ "port": 7 }, "x"],
        }))
        .unwrap();
        assert_eq!(
            (change.title(), change.text_before(), change.text_after()),
            ("ssh port".into(), "–".into(), "port: 7, x".into())
        );
    }
}
