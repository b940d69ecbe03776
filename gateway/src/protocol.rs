//! The messages between a server of DockHostV2 and its backends, as pure functions.
//!
//! A command is an event with one object. Its answer is an event *named by the command's `USERNAME`*, which is the name of
//! the container: a boolean to a question, an object to anything else. Nothing says which command an answer belongs to, and
//! machines are not trusted: what does not make sense is no answer.

use std::time::Duration;

use dockhost_agent::runtime::container_name;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::{ContainerId, Invalid};
use dockhost_domain::wire::Ports;
use serde_json::{Value, json};

/// The lowest port that a machine may have given a container.
const MIN_PORT: u16 = 1024;
/// Between the name of a container and its first port, in its id.
const SEPARATOR: char = '.';

/// A command to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Whether a container exists, running or not.
    Exists,
    /// Whether a container runs.
    IsRunning,
    /// Make a container and start it.
    Start,
    /// End a container; its files stay.
    Stop,
    /// Start a container that has ended.
    Resume,
    /// Remove a container, running or not.
    Delete,
}

impl Command {
    /// The name of its event.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Exists => "check_if_container_exists",
            Self::IsRunning => "check_if_container_running",
            Self::Start => "start_container",
            Self::Stop => "stop_container",
            Self::Resume => "resume_container",
            Self::Delete => "delete_container",
        }
    }

    /// How long its answer is waited for.
    #[must_use]
    pub const fn timeout(self) -> Duration {
        match self {
            Self::Exists | Self::IsRunning => Duration::from_secs(5),
            Self::Stop | Self::Resume | Self::Delete => Duration::from_secs(20),
            // The first start on a machine may download the image.
            Self::Start => Duration::from_secs(120),
        }
    }

    /// Whether an answer can be to this command.
    #[must_use]
    pub const fn fits(self, answer: Answer) -> bool {
        match (self, answer) {
            (Self::Exists | Self::IsRunning, Answer::Flag(_)) => true,
            (_, Answer::Outcome { about, .. }) => match (self, about) {
                (Self::Exists | Self::IsRunning, _) => false,
                (_, About::Anything)
                | (Self::Start, About::Start)
                | (Self::Stop, About::Stop | About::StopOrResume)
                | (Self::Resume, About::Resume | About::StopOrResume)
                | (Self::Delete, About::Delete) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// What the text of an answer says that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A start.
    Start,
    /// A stop.
    Stop,
    /// A resume.
    Resume,
    /// Either: a failed stop has the text of a failed resume.
    StopOrResume,
    /// A removal.
    Delete,
    /// The text is another one.
    Anything,
}

impl About {
    fn of(message: &str) -> Self {
        match message {
            "Instance spawned successfully"
            | "Failed to spawn the instance"
            | "Error occured whiel spawing the instance" => Self::Start,
            "Instance stopped successfully" | "Failed to stop instance" => Self::Stop,
            "Instance resumed successfully" => Self::Resume,
            "Error while resuming instance" => Self::StopOrResume,
            "Instance deleted successfully" | "Failed to delete container" | "Error while deleting container" => {
                Self::Delete
            }
            _ => Self::Anything,
        }
    }
}

/// An answer of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To a question.
    Flag(bool),
    /// To anything else.
    Outcome {
        /// Whether it claims success.
        success: bool,
        /// What it is about.
        about: About,
        /// The ports of a started container, if they make sense.
        ports: Option<Ports>,
    },
}

impl Answer {
    /// Reads an answer; `None` if it is none.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(Self::Flag(*flag)),
            Value::Object(members) => {
                let success = members.get("success")?.as_bool()?;
                let message = members.get("message").and_then(Value::as_str).unwrap_or_default();
                let port = members.get("PORT_NO");
                let about = if port.is_some() { About::Start } else { About::of(message) };
                let first = port.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
                Some(Self::Outcome { success, about, ports: first.and_then(ports_from) })
            }
            _ => None,
        }
    }
}

/// The ports of a container whose first one is this.
#[must_use]
pub fn ports_from(first: u16) -> Option<Ports> {
    let https = first.checked_add(2)?;
    (first >= MIN_PORT).then_some(Ports { ssh: first, http: first + 1, https })
}

/// The object of every command but a start.
#[must_use]
pub fn about(name: &str) -> Value {
    json!({ "USERNAME": name })
}

/// The object of a start. The machine takes the first three free ports from `first_port` on.
#[must_use]
pub fn start(name: &str, keys: &[String], first_port: u16) -> Value {
    json!({ "USERNAME": name, "SSH_PUB_KEY": authorized_keys(keys), "startingPortNo": first_port })
}

/// The keys that may log in, a line each, without comments. They reach a shell on the machine as a variable, so what no key
/// consists of is left out.
fn authorized_keys(keys: &[String]) -> String {
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "@.+/=-".contains(c));
    let line = |key: &String| {
        let mut words = key.split_ascii_whitespace();
        let (kind, blob) = (words.next().filter(is_word)?, words.next().filter(is_word)?);
        Some(format!("{kind} {blob}"))
    };
    keys.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// The id of a container: its name and its first port.
///
/// # Errors
/// If the name is not one of [`container_name`].
pub fn container_id(name: &str, ports: Ports) -> Result<ContainerId, Invalid> {
    format!("{name}{SEPARATOR}{}", ports.ssh).parse()
}

/// The name of the container with this id.
#[must_use]
pub fn name_in(id: &str) -> &str {
    id.rsplit_once(SEPARATOR).map_or(id, |(name, _)| name)
}

/// The ports that the id of an instance's container says; `None` if the gateway did not make it.
#[must_use]
pub fn ports_in(id: &str, instance: InstanceId, placement: u32) -> Option<Ports> {
    let (name, first) = id.rsplit_once(SEPARATOR)?;
    if name != container_name(instance, placement) {
        return None;
    }
    ports_from(first.parse().ok()?)
}

/// The instance that a machine names, by its id or by the name of its container.
#[must_use]
pub fn instance_in(text: &str) -> Option<InstanceId> {
    if let Ok(instance) = text.parse() {
        return Some(instance);
    }
    // The last part is the placement.
    let (instance, _) = text.strip_prefix("dockhost-")?.rsplit_once('-')?;
    instance.parse().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ALL: [Command; 6] =
        [Command::Exists, Command::IsRunning, Command::Start, Command::Stop, Command::Resume, Command::Delete];

    fn instance() -> InstanceId {
        InstanceId::from_uuid(Uuid::from_u128(7))
    }

    /// The commands that an answer fits.
    fn fitting(value: &Value) -> Vec<Command> {
        let answer = Answer::read(value);
        ALL.into_iter().filter(|command| answer.is_some_and(|answer| command.fits(answer))).collect()
    }

    #[test]
    fn answer_fits_what_it_can_be_about() {
        use Command::{Delete, Exists, IsRunning, Resume, Start, Stop};
        let outcome = |message: &str| json!({ "status": 200, "success": true, "message": message });
        for (value, expected) in [
            (json!(true), vec![Exists, IsRunning]),
            (json!(false), vec![Exists, IsRunning]),
            (outcome("Instance spawned successfully"), vec![Start]),
            (outcome("Instance stopped successfully"), vec![Stop]),
            (outcome("Error while resuming instance"), vec![Stop, Resume]),
            (outcome("Error while deleting container"), vec![Delete]),
            (outcome("something else"), vec![Start, Stop, Resume, Delete]),
            (json!({ "success": false }), vec![Start, Stop, Resume, Delete]),
            (json!({ "success": true, "PORT_NO": 20000 }), vec![Start]),
        ] {
            assert_eq!(fitting(&value), expected, "{value}");
        }
        for nonsense in [json!(null), json!("true"), json!(1), json!([true]), json!({}), json!({ "success": "yes" })] {
            assert_eq!(Answer::read(&nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn answer_ports_are_three_that_exist_or_none() {
        let ports = |port: Value| match Answer::read(&json!({ "success": true, "PORT_NO": port })) {
            Some(Answer::Outcome { about: About::Start, ports, .. }) => ports,
            other => panic!("{other:?}"),
        };
        assert_eq!(ports(json!(20000)), Some(Ports { ssh: 20000, http: 20001, https: 20002 }));
        assert_eq!(ports(json!(65533)), Some(Ports { ssh: 65533, http: 65534, https: 65535 }));
        for invalid in [json!("20000"), json!(1023), json!(65534), json!(-1), json!(1e9), json!(20000.5), json!(null)] {
            assert_eq!(ports(invalid.clone()), None, "{invalid}");
        }
    }

    #[test]
    fn authorized_keys_have_nothing_that_a_shell_reads() {
        let keys = [
            "ssh-ed25519 AAAAC3Nz/+= ada@home; reboot",
            "ssh-rsa $(reboot)",
            "ssh-rsa",
            "sk-ssh-ed25519@openssh.com AAAA",
        ];
        let start = start("box", &keys.map(str::to_owned), 20000);
        assert_eq!(start["SSH_PUB_KEY"], "ssh-ed25519 AAAAC3Nz/+=\nsk-ssh-ed25519@openssh.com AAAA");
        assert_eq!((&start["USERNAME"], &start["startingPortNo"]), (&json!("box"), &json!(20000)));
    }

    #[test]
    fn container_id_says_name_and_ports() {
        let name = container_name(instance(), 3);
        let ports = ports_from(20003).unwrap();
        let id = container_id(&name, ports).unwrap();
        assert_eq!(name_in(&id), name);
        assert_eq!(ports_in(&id, instance(), 3), Some(ports));
        assert_eq!(ports_in(&id, instance(), 2), None, "of another placement");
        let digest = "a".repeat(64);
        for other in [digest.as_str(), "", ".", &format!("{name}."), &format!("{name}.80")] {
            assert_eq!(ports_in(other, instance(), 3), None, "{other}");
        }
    }

    #[test]
    fn instance_in_reads_ids_and_names() {
        for text in [instance().to_string(), container_name(instance(), 12)] {
            assert_eq!(instance_in(&text), Some(instance()), "{text}");
        }
        for text in ["", "ada", "dockhost-", "dockhost-x-1", "user123-container"] {
            assert_eq!(instance_in(text), None, "{text}");
        }
    }
}
