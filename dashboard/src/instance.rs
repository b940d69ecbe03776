//! An instance, as the API answers it, with the words that pages use for it.

use serde::Deserialize;

use crate::moment::Moment;

/// An instance. Of the API's members, those that pages show.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Its id.
    pub instance_id: String,
    /// Its name, unless it was erased.
    pub name: Option<String>,
    /// Its status.
    pub status: Status,
    /// The change that is under way.
    pub under_way: Option<UnderWay>,
    /// The size that was asked for by its name.
    pub size: Option<String>,
    /// Processors.
    pub cpu: f64,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// How to log in, once that is known.
    pub ssh_details: Option<SshDetails>,
    /// The fingerprints of the keys that may log in.
    pub ssh_keys: Vec<String>,
    /// The machine that it is on.
    pub backend: Option<Backend>,
    /// Its container, once there is one.
    pub container_id: Option<String>,
    /// When it was created.
    pub created_at: Moment,
    /// When it is stopped, as its owner set it.
    pub expires_at: Option<Moment>,
    /// After how many minutes without an SSH connection it is stopped, as its owner set it.
    pub autostop_minutes: Option<u32>,
    /// When it is stopped, if something limits that.
    pub stops_at: Option<Stop>,
    /// Why it failed: the reason of each machine that was tried.
    #[serde(default)]
    pub failure: Vec<Failure>,
    /// Why it was stopped, if its owner did not request that.
    pub stop_reason: Option<String>,
    /// Why its container last ended by itself.
    pub last_end: Option<LastEnd>,
    /// The last change of an administrator.
    pub administrator: Option<Administrator>,
    /// When its machine was last heard; only while it is unreachable.
    pub last_seen: Option<Moment>,
    /// Whether events are missing from what is shown.
    pub stale: Option<serde::de::IgnoredAny>,
}

/// The status of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Under way to running for the first time.
    Creating,
    /// Accepts logins.
    Running,
    /// Under way to stopped.
    Stopping,
    /// Its files are kept.
    Stopped,
    /// Under way to running again.
    Resuming,
    /// Under way to deleted.
    Deleting,
    /// Deleted.
    Deleted,
    /// Not as its owner wants it.
    Failed,
    /// Its machine can't be asked.
    Unreachable,
}

/// A change that is under way.
#[derive(Debug, Clone, Deserialize)]
pub struct UnderWay {
    /// When it began.
    pub since: Moment,
    /// When it ends at the latest.
    pub deadline: Moment,
}

/// When an instance is stopped, and why then.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// When.
    pub at: Moment,
    /// `timeToLive` or `autostop`.
    pub reason: String,
    /// What moved that moment last, such as `activity`.
    pub moved_by: String,
    /// When it did.
    pub moved_at: Moment,
}

impl Stop {
    /// Why, as the end of a sentence.
    #[must_use]
    pub fn because(&self) -> &'static str {
        if self.reason == "autostop" { "unless somebody is connected by SSH" } else { "its time to live is over then" }
    }

    /// What moved that moment last, as a clause.
    #[must_use]
    pub fn moved(&self) -> &str {
        match self.moved_by.as_str() {
            "created" => "it was created",
            "resumed" => "it was resumed",
            "recreated" => "it was created again on another machine",
            "activity" => "somebody was connected to it",
            "changed" => "you changed the limit",
            "groupJoined" => "you were put into the group whose limit it is",
            "groupChanged" => "an administrator changed the limit of your group",
            other => other,
        }
    }
}

/// How to log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshDetails {
    /// The address of the machine.
    pub host: String,
    /// The port of the machine that leads to the instance.
    pub port: u16,
    /// Whom to log in as.
    pub username: String,
    /// The whole command.
    pub command: String,
    /// The fingerprints of the host keys.
    pub host_keys: Vec<String>,
}

/// The machine that an instance is on.
#[derive(Debug, Clone, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: Option<String>,
}

/// Why a machine could not run an instance.
#[derive(Debug, Clone, Deserialize)]
pub struct Failure {
    /// The machine's name.
    pub backend: Option<String>,
    /// Its reason.
    pub reason: Option<String>,
}

/// Why a container ended by itself.
#[derive(Debug, Clone, Deserialize)]
pub struct LastEnd {
    /// The cause as a clause, such as `it ran out of memory`.
    pub message: String,
    /// When.
    pub at: Moment,
}

/// A change that an administrator made.
#[derive(Debug, Clone, Deserialize)]
pub struct Administrator {
    /// When.
    pub at: Moment,
    /// The state that they want it in.
    pub wanted: String,
    /// What they say about it.
    pub reason: Option<String>,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Resuming => "Resuming",
            Self::Deleting => "Deleting",
            Self::Deleted => "Deleted",
            Self::Failed => "Failed",
            Self::Unreachable => "Unreachable",
        }
    }

    /// The class of its colour.
    #[must_use]
    pub const fn tone(self) -> &'static str {
        match self {
            Self::Running => "good",
            Self::Creating | Self::Stopping | Self::Resuming | Self::Deleting => "busy",
            Self::Stopped | Self::Deleted => "idle",
            Self::Failed => "bad",
            Self::Unreachable => "warn",
        }
    }
}

impl Instance {
    /// Its name, or its id if the name was erased.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.instance_id)
    }

    /// Whether its owner may stop it.
    #[must_use]
    pub const fn can_stop(&self) -> bool {
        matches!(self.status, Status::Running | Status::Unreachable)
    }

    /// Whether its owner may resume it.
    #[must_use]
    pub const fn can_resume(&self) -> bool {
        matches!(self.status, Status::Stopped | Status::Failed)
    }

    /// Whether its owner may delete it.
    #[must_use]
    pub const fn can_delete(&self) -> bool {
        !matches!(self.status, Status::Deleting | Status::Deleted)
    }

    /// How to log in, if that works now.
    #[must_use]
    pub fn login(&self) -> Option<&SshDetails> {
        self.ssh_details.as_ref().filter(|_| self.status == Status::Running)
    }

    /// What it may use: `small: 0.5 CPU, 512 MiB`.
    #[must_use]
    pub fn room(&self) -> String {
        let room = format!("{} CPU, {}", self.cpu, memory(self.memory_mib));
        match &self.size {
            Some(size) => format!("{size}: {room}"),
            None => room,
        }
    }

    /// Whether a key with this fingerprint may log in.
    #[must_use]
    pub fn has_key(&self, fingerprint: &str) -> bool {
        self.ssh_keys.iter().any(|known| known == fingerprint)
    }

    /// The block for `~/.ssh/config` with which `ssh NAME` logs in.
    #[must_use]
    pub fn ssh_config(&self) -> Option<String> {
        let SshDetails { host, port, username, .. } = self.ssh_details.as_ref()?;
        Some(format!("Host {}\n  HostName {host}\n  Port {port}\n  User {username}", self.title()))
    }
}

/// Memory in the largest unit in which it is a whole number.
#[must_use]
pub fn memory(mib: u32) -> String {
    if mib >= 1024 && mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_the_largest_whole_unit() {
        let shown = [512, 1024, 1536, 4096].map(memory);
        assert_eq!(shown, ["512 MiB", "1 GiB", "1536 MiB", "4 GiB"]);
    }
}
