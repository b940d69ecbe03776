//! The machines.

use std::collections::BTreeMap;

use askama::Template;
use serde::Deserialize;

use super::fleet_map::FleetMap;
use super::{List, percent};
use crate::moment::Moment;
use crate::pages::Frame;

/// A machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Its id.
    pub id: String,
    /// Its name, unless it was erased.
    pub username: Option<String>,
    /// `pending`, `enrolled`, `connected`, `degraded` or `lost`.
    pub status: String,
    /// Where it is, as it says.
    pub lab_name: Option<String>,
    /// Its system, as it says.
    pub operating_system: Option<String>,
    /// How many instances it takes.
    pub max_containers: u32,
    /// How many it asked to take.
    pub requested_max_containers: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes no new instances.
    pub cordoned: bool,
    /// Its drain, if there is one.
    pub drain: Option<Drain>,
    /// Whether its key is revoked.
    pub key_revoked: bool,
    /// The address that its instances are reached at.
    pub address: Option<String>,
    /// Its container engine.
    pub runtime: Option<String>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// When it was registered.
    pub created_at: Moment,
    /// When its last heartbeat arrived.
    pub last_seen: Option<Moment>,
    /// Its load per processor, 0 to 1 and more.
    pub load: Option<f64>,
    /// The memory in use, 0 to 1.
    pub memory: Option<f64>,
    /// The instances that are placed on it.
    pub instances: u32,
    /// What it consists of.
    pub machine: Parts,
}

/// A drain of a machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// When it ends at the latest.
    pub deadline: Moment,
    /// When it ended.
    pub ended_at: Option<Moment>,
    /// Whether the machine is removed afterwards.
    pub retire: bool,
}

/// What a machine consists of.
#[derive(Debug, Clone, Deserialize)]
pub struct Parts {
    /// The container engine.
    pub engine: Option<Part>,
    /// The image of new instances.
    pub image: Option<Part>,
    /// The network of the instances.
    pub isolation: Option<Part>,
}

/// A part of a machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// Its state, such as `ok`.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
}

/// How far a drain is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// `draining` or `ended`.
    pub status: String,
    /// When it ends at the latest.
    pub deadline: Moment,
    /// Instances that are still to be stopped.
    pub left: u32,
    /// Those that were stopped.
    pub stopped: u32,
    /// Those that were moved.
    pub moved: u32,
    /// Those that stayed.
    pub stayed: u32,
    /// Those that are not stopped.
    pub instances: Vec<Remaining>,
}

/// An instance on a machine that is drained.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remaining {
    /// Its id.
    pub instance_id: String,
    /// Why it stayed.
    pub reason: Option<String>,
}

impl Progress {
    /// How many instances were on the machine.
    #[must_use]
    pub const fn all(&self) -> u32 {
        self.left + self.stopped + self.moved + self.stayed
    }

    /// How many are off it.
    #[must_use]
    pub const fn done(&self) -> u32 {
        self.stopped + self.moved
    }
}

impl Machine {
    /// Its name, or its id.
    #[must_use]
    pub fn title(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }

    /// Its state in words.
    #[must_use]
    pub fn word(&self) -> &str {
        match (self.status.as_str(), &self.drain) {
            _ if self.key_revoked => "Key revoked",
            ("connected", Some(Drain { ended_at: None, .. })) => "Draining",
            ("connected", _) if self.cordoned => "Cordoned",
            ("connected", _) => "Connected",
            ("pending", _) => "Waits for approval",
            ("enrolled", _) => "Not connected yet",
            ("degraded", _) => "Degraded",
            ("lost", _) => "Lost",
            (other, _) => other,
        }
    }

    /// The class of its colour.
    #[must_use]
    pub fn tone(&self) -> &'static str {
        match self.status.as_str() {
            _ if self.key_revoked => "bad",
            "connected" if self.drains() => "busy",
            "connected" if self.cordoned => "idle",
            "connected" => "good",
            "pending" | "degraded" => "warn",
            "lost" => "bad",
            _ => "idle",
        }
    }

    /// Whether it waits for an administrator.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status == "pending"
    }

    /// Whether it is being drained.
    #[must_use]
    pub const fn drains(&self) -> bool {
        matches!(&self.drain, Some(drain) if drain.ended_at.is_none())
    }

    /// Whether an administrator should look at it.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.key_revoked || matches!(self.status.as_str(), "pending" | "degraded" | "lost")
    }

    /// How full it is, and how busy: `load 40 %, memory 30 %`.
    #[must_use]
    pub fn use_of_it(&self) -> Option<String> {
        Some(format!("load {}, memory {}", percent(self.load?), percent(self.memory?)))
    }

    /// Its software: `docker, agent 0.1.0`.
    #[must_use]
    pub fn software(&self) -> String {
        let agent = self.agent_version.as_ref().map(|version| format!("agent {version}"));
        let parts = [self.operating_system.clone(), self.runtime.clone(), agent];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What is wrong with it, each as a sentence.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let Parts { engine, image, isolation } = &self.machine;
        let parts = [("Container engine", engine), ("Image", image), ("Network", isolation)];
        let with_reason = parts.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?.reason.as_ref()?)));
        with_reason.map(|(name, reason)| format!("{name}: {reason}")).collect()
    }

    /// Its labels, as they are typed: `zone=a, gpu=no`.
    #[must_use]
    pub fn labels_text(&self) -> String {
        self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }
}

/// A token with which a machine enrols itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolmentToken {
    /// Its id.
    pub id: String,
    /// `valid`, `used`, `revoked` or `expired`.
    pub status: String,
    /// When it was made.
    pub created_at: Moment,
    /// Until when it can be used.
    pub expires_at: Moment,
    /// How many instances the machine takes.
    pub max_containers: Option<u32>,
}

/// The machines.
#[derive(Debug, Template)]
#[template(path = "admin/parts/machines.html")]
pub struct MachineList {
    /// The machines; an error in words if they could not be read.
    pub machines: Result<List<Machine>, String>,
    /// Where this page of the list begins.
    pub cursor: Option<String>,
}

/// The enrolment tokens that can be used.
#[derive(Debug, Template)]
#[template(path = "admin/parts/enrolment_tokens.html")]
pub struct EnrolmentTokenList {
    /// The tokens; an error in words if they could not be read.
    pub tokens: Result<Vec<EnrolmentToken>, String>,
}

/// `/admin/machines`.
#[derive(Debug, Template)]
#[template(path = "admin/machines.html")]
pub struct MachinesPage {
    /// The frame.
    pub frame: Frame,
    /// All machines by their load.
    pub map: FleetMap,
    /// The machines.
    pub list: MachineList,
    /// The enrolment tokens.
    pub tokens: EnrolmentTokenList,
}

/// One machine.
#[derive(Debug, Template)]
#[template(path = "admin/parts/machine.html")]
pub struct MachineDetail {
    /// The machine.
    pub machine: Machine,
    /// How far its drain is; an error in words if that could not be read.
    pub progress: Option<Result<Progress, String>>,
}

/// `/admin/machines/{id}`.
#[derive(Debug, Template)]
#[template(path = "admin/machine.html")]
pub struct MachinePage {
    /// The frame.
    pub frame: Frame,
    /// The machine.
    pub detail: MachineDetail,
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::admin) fn machine(status: &str, cordoned: bool, key_revoked: bool) -> Machine {
        serde_json::from_value(json!({
            "id": "1", "username": "lab-1", "status": status, "labName": null, "operatingSystem": "Debian 12",
            "maxContainers": 20, "requestedMaxContainers": 20, "labels": { "zone": "a" }, "cordoned": cordoned,
            "drain": null, "keyRevoked": key_revoked, "address": null, "runtime": "docker", "agentVersion": "0.1.0",
            "createdAt": "2026-11-24T08:00:15.000Z", "lastSeen": null, "load": 0.406, "memory": 0.3, "instances": 3,
            "machine": {
                "engine": { "state": "ok" }, "image": { "state": "missing", "reason": "it is being built" },
                "isolation": null,
            },
        }))
        .unwrap()
    }

    #[test]
    fn machine_has_one_state_in_words() {
        for (status, cordoned, revoked, expected) in [
            ("connected", false, false, ("Connected", "good")),
            ("connected", true, false, ("Cordoned", "idle")),
            ("pending", false, false, ("Waits for approval", "warn")),
            ("lost", true, false, ("Lost", "bad")),
            ("connected", true, true, ("Key revoked", "bad")),
        ] {
            let machine = machine(status, cordoned, revoked);
            assert_eq!((machine.word(), machine.tone()), expected, "{status}");
        }
    }

    #[test]
    fn machine_tells_what_is_on_it_and_what_is_wrong() {
        let machine = machine("degraded", false, false);
        assert_eq!(machine.use_of_it().as_deref(), Some("load 41 %, memory 30 %"));
        assert_eq!(machine.software(), "Debian 12, docker, agent 0.1.0");
        assert_eq!(machine.problems(), ["Image: it is being built"]);
        assert_eq!(machine.labels_text(), "zone=a");
        assert!(machine.needs_attention());
    }
}
