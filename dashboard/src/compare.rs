//! An instance as it was at an earlier time, beside now.

use crate::account::minutes;
use crate::instance::Instance;
use crate::moment::Moment;

/// What is not there.
const NOTHING: &str = "–";

/// A member of an instance at two times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub name: &'static str,
    /// Its value then, as text.
    pub then: String,
    /// Its value now, as text.
    pub now: String,
}

impl Member {
    /// Whether it has changed.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.then != self.now
    }
}

/// Compares an instance with what it was. It did not exist before it was created, and does not after its deletion.
#[must_use]
pub fn compare(then: Option<&Instance>, now: Option<&Instance>) -> Vec<Member> {
    let values =
        |instance: Option<&Instance>| instance.map_or_else(|| gone().to_vec(), |instance| members(instance).to_vec());
    let pairs = values(then).into_iter().zip(values(now));
    pairs.zip(NAMES).map(|((then, now), name)| Member { name, then, now }).collect()
}

const NAMES: [&str; 9] = [
    "Status",
    "Name",
    "Machine",
    "Size",
    "SSH port",
    "Keys",
    "Container",
    "Stopped at the latest",
    "Stopped when unused for",
];

fn gone() -> [String; 9] {
    std::array::from_fn(|index| if index == 0 { "Does not exist" } else { NOTHING }.to_owned())
}

fn members(instance: &Instance) -> [String; 9] {
    let or_nothing = |value: Option<String>| value.unwrap_or_else(|| NOTHING.to_owned());
    let keys = if instance.ssh_keys.is_empty() { None } else { Some(instance.ssh_keys.join(", ")) };
    [
        instance.status.word().to_owned(),
        or_nothing(instance.name.clone()),
        or_nothing(instance.backend.as_ref().and_then(|backend| backend.name.clone())),
        instance.room(),
        or_nothing(instance.ssh_details.as_ref().map(|ssh| ssh.port.to_string())),
        or_nothing(keys),
        or_nothing(instance.container_id.as_ref().map(|id| id.chars().take(12).collect())),
        or_nothing(instance.expires_at.as_ref().map(Moment::text)),
        or_nothing(instance.autostop_minutes.map(minutes)),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(status: &str, autostop: Option<u32>) -> Instance {
        serde_json::from_value(json!({
            "instanceId": "1", "name": "web", "status": status, "size": null, "cpu": 1.0, "memoryMib": 1024, "sshDetails": null,
            "sshKeys": [], "backend": { "name": "lab-1" }, "createdAt": "2026-11-24T08:00:15.000Z",
            "autostopMinutes": autostop,
        }))
        .unwrap()
    }

    #[test]
    fn compare_marks_what_has_changed() {
        let members = compare(Some(&instance("creating", None)), Some(&instance("running", Some(60))));
        let changed: Vec<_> = members.iter().filter(|member| member.differs()).collect();
        let expected = [
            Member { name: "Status", then: "Creating".into(), now: "Running".into() },
            Member { name: "Stopped when unused for", then: "–".into(), now: "1 hour".into() },
        ];
        assert_eq!(changed, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn compare_with_a_deleted_instance_says_that_it_does_not_exist() {
        let members = compare(Some(&instance("running", None)), None);
        assert_eq!((members[0].then.as_str(), members[0].now.as_str()), ("Running", "Does not exist"));
        assert_eq!(members.len(), NAMES.len());
    }
}
