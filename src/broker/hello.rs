//! The hello service: an agent that starts or reconnects gets all its assignments again.
//!
//! The handler creates the backend's consumer on ASSIGNMENTS again, starting with the last message of each subject, and
//! replies with their number. The consumer needs no acknowledgements: an agent that loses its connection says hello
//! again and gets everything again. While another agent holds the backend, the hello is refused ([`super::key_holder`]).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use dockhost_domain::ids::BackendId;
use dockhost_domain::reported::{self, KeyDigest};
use dockhost_domain::room::Overcommit;
use dockhost_domain::subject::{ALL_HELLOS, Channel};
use dockhost_domain::wire::{AgentKey, Hello, Welcome};
use futures::future::BoxFuture;

use super::agent_limits::AgentMessage;
use super::deliveries::Deliveries;
use super::holders::Holders;
use super::key_holder::{Admission, Heard, Recorded, admit};
use super::service::{RequestError, RequestHandler};
use crate::broker::streams::ASSIGNMENTS;
use crate::broker::streams::incarnation::LastSeen;
use crate::common::clock;

/// What a backend may hold.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The most containers.
    pub max_containers: u32,
    /// Whether it gets instances only when an administrator has approved it.
    pub awaits_approval: bool,
    /// Its current API key; `None` if that is revoked.
    pub api_key: Option<AgentKey>,
}

/// Looks up enrolled backends.
pub trait Enrolments: Send + Sync + 'static {
    /// What the backend may hold; `None` if it is not enrolled.
    fn find(&self, backend: BackendId) -> BoxFuture<'_, Option<Enrolment>>;
}

/// Knows the heartbeats that this replica receives.
pub trait Heartbeats: Send + Sync + 'static {
    /// What it has heard of the backend's holder.
    fn heard(&self, backend: BackendId) -> Heard;
}

/// Handles hellos. The stream ASSIGNMENTS must exist.
pub struct HelloHandler {
    /// The consumers.
    pub holders: Arc<Holders>,
    /// The enrolled backends.
    pub enrolments: Arc<dyn Enrolments>,
    /// The heartbeats.
    pub heartbeats: Arc<dyn Heartbeats>,
    /// A backend that is silent for longer is lost.
    pub lost_after: Duration,
    /// The image of new instances; the agents' default if absent.
    pub image: Option<String>,
    /// How many times what a machine has its instances may have in all.
    pub overcommit: Overcommit,
    /// The stream of reports.
    pub reports: Arc<LastSeen>,
    /// What is to be delivered.
    pub deliveries: Arc<Deliveries>,
}

fn key_digest(key: &str) -> KeyDigest {
    let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    KeyDigest::of_bytes(&bytes)
}

/// The current key, for an agent that has another one and can store this one: it says the digest of its own.
fn replacement(own: Option<&KeyDigest>, current: Option<AgentKey>) -> Option<AgentKey> {
    current.filter(|key| own.is_some_and(|own| *own != key_digest(&key.0)))
}

impl RequestHandler for HelloHandler {
    const MESSAGE: AgentMessage = AgentMessage::Hello;
    const SUBJECT: &'static str = ALL_HELLOS;
    type Response = Welcome;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Hello(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, backend: BackendId, body: &[u8]) -> Result<Welcome, RequestError> {
        let hello: Hello = reported::parse(body)?;
        let run = hello.agent_run.ok_or(RequestError::NoAgentRun)?;
        let Enrolment { max_containers, awaits_approval, api_key } =
            self.enrolments.find(backend).await.ok_or(RequestError::UnknownBackend)?;
        let heard = self.heartbeats.heard(backend);
        let (recorded, error) = match self.holders.read(backend).await {
            Ok(Some(holder)) => (Recorded::Held(holder), None),
            Ok(None) => (Recorded::Nobody, None),
            Err(error) => (Recorded::Unknown, Some(error)),
        };
        let since = match (admit(run, recorded, heard, self.lost_after), error) {
            (Admission::Accepted { since }, _) => since.unwrap_or_else(clock::now),
            (Admission::Refused(other), _) => return Err(RequestError::OtherAgent(Some(other))),
            (Admission::Undecided, error) => {
                return Err(RequestError::Unavailable(error.unwrap_or_else(|| "the broker does not answer".into())));
            }
        };
        let replaced = self.holders.replace(backend, recorded, run, since).await;
        let assignments = replaced.map_err(RequestError::Unavailable)?;
        self.deliveries.connected(backend);
        let (stream, consumer) = (ASSIGNMENTS.to_owned(), backend.to_string());
        tracing::info!(%backend, %run, assignments, "hello from a backend");
        Ok(Welcome {
            backend_id: backend,
            assignments,
            stream,
            consumer,
            max_containers,
            image: self.image.clone(),
            reports_created_at: self.reports.created_at(),
            awaits_approval,
            overcommit: Some(self.overcommit),
            api_key: replacement(hello.key_digest.as_ref(), api_key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacement_is_for_an_agent_that_has_another_key_and_says_so() {
        let current = || Some(AgentKey("new".to_owned()));
        assert_eq!(replacement(Some(&key_digest("old")), current()), current());
        assert_eq!(replacement(Some(&key_digest("new")), current()), None);
        assert_eq!(replacement(None, current()), None, "an earlier agent could not store it");
        assert_eq!(replacement(Some(&key_digest("old")), None), None, "the key is revoked");
    }
}
