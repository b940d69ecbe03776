//! The subjects that one backend may use. Everything else is refused by the broker.

use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::Channel;
use serde::Serialize;

use crate::broker::streams::ASSIGNMENTS;

/// The subject of [`crate::broker::access`].
pub const CHECK_SUBJECT: &str = "dockhost.check";

/// What a connection may publish and subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permissions {
    r#pub: AllowList,
    sub: AllowList,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AllowList {
    allow: Vec<String>,
}

impl Permissions {
    /// One subject, which only the sender itself reads.
    #[must_use]
    pub fn of_check() -> Self {
        let only = || AllowList { allow: vec![CHECK_SUBJECT.to_owned()] };
        Self { r#pub: only(), sub: only() }
    }

    /// The subjects of one backend.
    #[must_use]
    pub fn of(backend: BackendId) -> Self {
        let publish = vec![
            Channel::Hello(backend).to_string(),
            Channel::Confirm(backend).to_string(),
            Channel::Report(backend).to_string(),
            Channel::Heartbeat(backend).to_string(),
            format!("$JS.API.CONSUMER.MSG.NEXT.{ASSIGNMENTS}.{backend}"),
        ];
        Self { r#pub: AllowList { allow: publish }, sub: AllowList { allow: vec![format!("_INBOX.{backend}.>")] } }
    }
}
