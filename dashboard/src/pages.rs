//! The pages, one struct and one template each.

use askama::Template;
use serde::Deserialize;

use crate::assets;
use crate::instance::memory;
use crate::parts::{InstanceDetail, InstanceList, KeyList, Profile, SessionList, SshKey, TokenList};

/// What the frame around every page shows.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Who is signed in.
    pub user: Option<User>,
    /// The server's version.
    pub version: &'static str,
    /// Whether the API's pages are served at `/api/docs`.
    pub has_docs: bool,
}

/// Who is signed in.
#[derive(Debug, Clone)]
pub struct User {
    /// Their name.
    pub name: String,
    /// Whether they are an administrator.
    pub is_admin: bool,
}

impl Frame {
    /// Whether it is that of an administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.is_admin)
    }

    /// The address of an asset.
    pub(crate) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }
}

/// `/`: whether the service is up.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub struct StatusPage {
    /// The frame.
    pub frame: Frame,
    /// What `/health` answers.
    pub health: Health,
    /// The instances on the machines that are connected.
    pub instances: u64,
    /// Whether people can sign in here.
    pub has_console: bool,
}

/// Of the answer of `/health`, what anybody may know.
#[derive(Debug, Clone, Deserialize)]
pub struct Health {
    /// `healthy`, `degraded` or `unhealthy`.
    pub status: String,
    /// `catching_up`, `serving` or `stopping`.
    pub phase: String,
    /// The parts that are down.
    pub down: Vec<String>,
    /// The machines that send heartbeats.
    pub backends: u64,
    /// The machines.
    pub fleet: Fleet,
}

/// The machines in numbers.
#[derive(Debug, Clone, Deserialize)]
pub struct Fleet {
    /// Those that are approved.
    pub registered: u64,
}

/// The status of the service in words.
struct Verdict {
    /// The class of its colour.
    tone: &'static str,
    /// The status in one sentence.
    headline: &'static str,
    /// What that means for somebody who uses it.
    explanation: &'static str,
}

/// A part of the service on the status page.
struct Part {
    name: &'static str,
    about: &'static str,
    is_up: bool,
}

impl StatusPage {
    fn verdict(&self) -> Verdict {
        match (self.health.phase.as_str(), self.health.status.as_str()) {
            ("catching_up", _) => Verdict {
                tone: "warn",
                headline: "The server is catching up",
                explanation: "It reads what happened while it was away. Try again in a moment.",
            },
            ("stopping", _) => Verdict {
                tone: "warn",
                headline: "This server is being restarted",
                explanation: "Other servers answer new requests. Instances run on.",
            },
            (_, "healthy") => Verdict {
                tone: "good",
                headline: "Everything works",
                explanation: "Instances can be created, used and changed.",
            },
            (_, "degraded") => Verdict {
                tone: "warn",
                headline: "It works, with faults",
                explanation: "Instances can be created, used and changed. The operators see what needs their attention.",
            },
            _ => Verdict {
                tone: "bad",
                headline: "Parts are down",
                explanation: "Some requests fail now. Instances that run are not affected: SSH goes on working.",
            },
        }
    }

    fn parts(&self) -> [Part; 4] {
        let is_up = |names: &[&str]| !self.health.down.iter().any(|down| names.contains(&down.as_str()));
        [
            Part { name: "API", about: "answers requests", is_up: self.health.phase != "catching_up" },
            Part {
                name: "Commands",
                about: "stores and carries out changes",
                is_up: is_up(&["broker", "writes", "streams", "leader", "clock"]),
            },
            Part { name: "Event log", about: "keeps every change", is_up: is_up(&["broker", "streams"]) },
            Part { name: "Database", about: "answers queries", is_up: is_up(&["database"]) },
        ]
    }
}

/// `/console/signin`.
#[derive(Debug, Template)]
#[template(path = "signin.html")]
pub struct SignInPage {
    /// The frame.
    pub frame: Frame,
    /// The page that follows.
    pub next: String,
    /// Who may sign up.
    pub sign_up: SignUp,
}

/// `/console/signup`.
#[derive(Debug, Template)]
#[template(path = "signup.html")]
pub struct SignUpPage {
    /// The frame.
    pub frame: Frame,
    /// Who may sign up.
    pub sign_up: SignUp,
    /// The invitation from the address of the page.
    pub invitation: String,
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUp {
    /// Anybody.
    Open,
    /// People with an invitation.
    Invite,
    /// Nobody.
    Closed,
}

impl SignUp {
    fn is_open(self) -> bool {
        self == Self::Open
    }

    fn is_closed(self) -> bool {
        self == Self::Closed
    }
}

/// `/console`: the caller's instances.
#[derive(Debug, Template)]
#[template(path = "instances.html")]
pub struct InstancesPage {
    /// The frame.
    pub frame: Frame,
    /// The instances.
    pub list: InstanceList,
    /// The caller's SSH keys.
    pub keys: Vec<SshKey>,
    /// The sizes that can be asked for.
    pub sizes: Vec<Size>,
    /// What an instance has without a size.
    pub default_size: Size,
}

/// What an instance can have.
#[derive(Debug, Clone)]
pub struct Size {
    /// Its name.
    pub name: String,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Size {
    fn room(&self) -> String {
        format!("{} CPU, {}", f64::from(self.cpu_millis) / 1000.0, memory(self.memory_mib))
    }
}

impl InstancesPage {
    /// A new account without a key and without an instance.
    fn is_first_visit(&self) -> bool {
        self.keys.is_empty() && matches!(&self.list.instances, Ok(instances) if instances.is_empty())
    }
}

/// `/console/instances/{id}`.
#[derive(Debug, Template)]
#[template(path = "instance.html")]
pub struct InstancePage {
    /// The frame.
    pub frame: Frame,
    /// The instance with its history.
    pub detail: InstanceDetail,
}

/// `/console/keys`.
#[derive(Debug, Template)]
#[template(path = "keys.html")]
pub struct KeysPage {
    /// The frame.
    pub frame: Frame,
    /// The keys.
    pub list: KeyList,
}

/// `/console/account`.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    /// The frame.
    pub frame: Frame,
    /// The profile.
    pub profile: Profile,
    /// The sessions.
    pub sessions: SessionList,
    /// The API tokens.
    pub tokens: TokenList,
}

/// `/console/reset`: a new password with a token of an administrator.
#[derive(Debug, Template)]
#[template(path = "reset.html")]
pub struct ResetPage {
    /// The frame.
    pub frame: Frame,
    /// The token from the address of the page.
    pub token: String,
}

/// A page that can't be shown.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The frame.
    pub frame: Frame,
    /// What is wrong, in a few words.
    pub title: String,
    /// What the reader can do.
    pub message: String,
    /// The request's id, as in the server's log.
    pub request_id: String,
}
