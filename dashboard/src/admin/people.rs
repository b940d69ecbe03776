//! The people, their groups and invitations.

use askama::Template;
use serde::Deserialize;

use super::{Chip, List};
use crate::account::minutes;
use crate::instance::memory;
use crate::moment::Moment;
use crate::pages::Frame;

/// A person.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Their id.
    pub id: String,
    /// Their name, unless it was erased.
    pub username: Option<String>,
    /// Their email address, unless it was erased; administrators may have none.
    pub email: Option<String>,
    /// `user` or `admin`.
    pub role: String,
    /// `active`, `disabled` or `erased`.
    pub state: String,
    /// When they signed up.
    pub created_at: Moment,
    /// When their account was disabled.
    pub disabled_at: Option<Moment>,
    /// What they are told about it.
    pub disabled_reason: Option<String>,
    /// Their group.
    pub group: Option<GroupName>,
    /// Their instances that are not deleted.
    pub instances: u32,
    /// The processors of these.
    pub cpu: f64,
    /// Their memory in MiB.
    pub memory_mib: u32,
    /// When they last signed in.
    pub last_sign_in_at: Option<Moment>,
}

/// A group by its name.
#[derive(Debug, Clone, Deserialize)]
pub struct GroupName {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Person {
    /// Their name, or their id.
    #[must_use]
    pub fn title(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }

    /// Whether they are an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }

    /// Whether they can sign in.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }

    /// Whether their account is disabled.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.state == "disabled"
    }

    /// What their instances have: `3 instances, 2 CPU, 1 GiB`.
    #[must_use]
    pub fn use_in_words(&self) -> String {
        let instances =
            if self.instances == 1 { "1 instance".to_owned() } else { format!("{} instances", self.instances) };
        if self.instances == 0 {
            instances
        } else {
            format!("{instances}, {} CPU, {}", self.cpu, memory(self.memory_mib))
        }
    }

    /// Whether they are in the group with this id.
    #[must_use]
    pub fn is_in(&self, id: &str) -> bool {
        self.group.as_ref().is_some_and(|group| group.id == id)
    }
}

/// A group of people.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The most instances of each member.
    pub max_instances: Option<u32>,
    /// The most processors of each member's instances in all.
    pub max_cpu: Option<f64>,
    /// The most memory of each member's instances in all, in MiB.
    pub max_memory_mib: Option<u32>,
    /// When the instances of its members are stopped for good.
    pub ends_at: Option<Moment>,
    /// For how many minutes an instance may run.
    pub time_to_live_minutes: Option<u32>,
    /// After how many minutes without an SSH connection an instance is stopped.
    pub autostop_minutes: Option<u32>,
}

impl Group {
    /// Its limits in words.
    #[must_use]
    pub fn limits(&self) -> String {
        let instances = self.max_instances.map(|max| format!("at most {max} instances each"));
        let cpu = self.max_cpu.map(|cpu| format!("at most {cpu} CPU each"));
        let memory = self.max_memory_mib.map(|mib| format!("at most {} each", memory(mib)));
        let run = self.time_to_live_minutes.map(|limit| format!("run for {}", minutes(limit)));
        let idle = self.autostop_minutes.map(|limit| format!("stopped after {} without a connection", minutes(limit)));
        let limits: Vec<_> = instances.into_iter().chain(cpu).chain(memory).chain(run).chain(idle).collect();
        if limits.is_empty() { "no limits of its own".to_owned() } else { limits.join(", ") }
    }
}

/// An invitation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Its id.
    pub id: String,
    /// `valid`, `used`, `revoked` or `expired`.
    pub status: String,
    /// When it was made.
    pub created_at: Moment,
    /// Until when it can be used.
    pub expires_at: Moment,
}

/// The people who were looked for.
#[derive(Debug, Template)]
#[template(path = "admin/parts/people.html")]
pub struct PeopleList {
    /// The people; an error in words if they could not be read.
    pub people: Result<List<Person>, String>,
    /// What was looked for: the query of the address.
    pub query: String,
    /// The address of the next page, if there is one.
    pub next: Option<String>,
}

/// The groups.
#[derive(Debug, Template)]
#[template(path = "admin/parts/groups.html")]
pub struct GroupList {
    /// The groups; an error in words if they could not be read.
    pub groups: Result<Vec<Group>, String>,
}

/// The invitations that can be used.
#[derive(Debug, Template)]
#[template(path = "admin/parts/invitations.html")]
pub struct InvitationList {
    /// The invitations; an error in words if they could not be read.
    pub invitations: Result<Vec<Invitation>, String>,
}

/// `/admin/people`.
#[derive(Debug, Template)]
#[template(path = "admin/people.html")]
pub struct PeoplePage {
    /// The frame.
    pub frame: Frame,
    /// The people.
    pub list: PeopleList,
    /// What is looked for by name.
    pub search: String,
    /// The states that can be chosen.
    pub chips: Vec<Chip>,
    /// The groups.
    pub groups: GroupList,
    /// The invitations.
    pub invitations: InvitationList,
}

/// One person.
#[derive(Debug, Template)]
#[template(path = "admin/parts/person.html")]
pub struct PersonDetail {
    /// The person.
    pub person: Person,
}

/// `/admin/people/{id}`.
#[derive(Debug, Template)]
#[template(path = "admin/person.html")]
pub struct PersonPage {
    /// The frame.
    pub frame: Frame,
    /// The person.
    pub detail: PersonDetail,
    /// The groups.
    pub groups: Vec<Group>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn group_has_its_limits_in_words() {
        let group = |max: Option<u32>, cpu: Option<f64>, memory: Option<u32>, autostop: Option<u32>| {
            let group = json!({
                "id": "1", "name": "course", "maxInstances": max, "maxCpu": cpu, "maxMemoryMib": memory, "endsAt": null,
                "timeToLiveMinutes": null, "autostopMinutes": autostop,
            });
            serde_json::from_value::<Group>(group).unwrap().limits()
        };
        assert_eq!(group(None, None, None, None), "no limits of its own");
        assert_eq!(
            group(Some(3), None, None, Some(60)),
            "at most 3 instances each, stopped after 1 hour without a connection"
        );
        assert_eq!(group(None, Some(1.5), Some(2048), None), "at most 1.5 CPU each, at most 2 GiB each");
    }
}
