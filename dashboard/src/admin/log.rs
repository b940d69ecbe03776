//! The instances of everybody, and the log.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use super::{Chip, List, json_text};
use crate::instance::Instance;
use crate::moment::Moment;
use crate::pages::Frame;
use crate::timeline::{Actor, History};

/// An instance and whose it is.
#[derive(Debug, Clone, Deserialize)]
pub struct OwnedInstance {
    /// The instance.
    #[serde(flatten)]
    pub instance: Instance,
    /// Its owner.
    pub owner: Owner,
}

/// The owner of an instance.
#[derive(Debug, Clone, Deserialize)]
pub struct Owner {
    /// Their id.
    pub id: String,
    /// Their name, unless it was erased.
    pub username: Option<String>,
}

impl Owner {
    /// Their name, or their id.
    #[must_use]
    pub fn title(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }
}

/// The instances that were looked for.
#[derive(Debug, Template)]
#[template(path = "admin/parts/instances.html")]
pub struct AllInstances {
    /// The instances; an error in words if they could not be read.
    pub instances: Result<List<OwnedInstance>, String>,
    /// What was looked for: the query of the address.
    pub query: String,
    /// The address of the next page, if there is one.
    pub next: Option<String>,
}

/// `/admin/instances`.
#[derive(Debug, Template)]
#[template(path = "admin/instances.html")]
pub struct AllInstancesPage {
    /// The frame.
    pub frame: Frame,
    /// The instances.
    pub list: AllInstances,
    /// The states that can be chosen.
    pub chips: Vec<Chip>,
    /// What is looked for: the beginning of the name.
    pub name: String,
    /// The other parameters of the address, which a search keeps.
    pub kept: Vec<(String, String)>,
    /// Which are shown if not those of everybody, as a sentence.
    pub narrowed: Option<&'static str>,
}

/// What happened to an instance.
#[derive(Debug, Template)]
#[template(path = "admin/parts/history.html")]
pub struct InstanceEvents {
    /// The instance's id.
    pub id: String,
    /// What happened; an error in words if that could not be read.
    pub history: Result<History, String>,
}

/// `/admin/instances/{id}`.
#[derive(Debug, Template)]
#[template(path = "admin/history.html")]
pub struct HistoryPage {
    /// The frame.
    pub frame: Frame,
    /// What happened.
    pub events: InstanceEvents,
}

/// An event of the log.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Its sequence.
    pub sequence: u64,
    /// When, unless this server can't read it.
    pub time: Option<Moment>,
    /// Its type, unless this server can't read it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What it is about.
    pub subject: String,
    /// Who caused it.
    pub actor: Option<Actor>,
    /// What caused it.
    pub cause: Option<String>,
    /// Its body.
    pub data: Value,
}

impl Event {
    /// Its type without what all types have.
    #[must_use]
    pub fn name(&self) -> &str {
        self.kind.as_deref().map_or("unreadable", |kind| kind.strip_prefix("dockhost.").unwrap_or(kind))
    }

    /// Who caused it.
    #[must_use]
    pub fn who(&self) -> &str {
        let Some(Actor { kind, name }) = &self.actor else { return "unknown" };
        name.as_deref().unwrap_or(kind)
    }

    /// Its body as text.
    #[must_use]
    pub fn body(&self) -> String {
        json_text(&self.data)
    }
}

/// The last events.
#[derive(Debug, Template)]
#[template(path = "admin/parts/log.html")]
pub struct Tail {
    /// The events, the last one first; an error in words if they could not be read.
    pub events: Result<Vec<Event>, String>,
    /// What was looked for: the query of the address.
    pub query: String,
    /// The address of the page with the events before, if there are any.
    pub earlier: Option<String>,
    /// Whether these are the last events.
    pub is_last: bool,
}

/// `/admin/log`.
#[derive(Debug, Template)]
#[template(path = "admin/log.html")]
pub struct LogPage {
    /// The frame.
    pub frame: Frame,
    /// The events.
    pub tail: Tail,
    /// The kinds that can be chosen.
    pub chips: Vec<Chip>,
}
