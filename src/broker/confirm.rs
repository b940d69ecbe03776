//! Whether an assignment still stands: what an agent asks before it makes a container.
//!
//! In: a request on `dockhost.confirm.<backend>` with instance, placement and generation. Out: yes or no, as the leader of
//! the stream ASSIGNMENTS knows it. What a backend's consumer hands out is no proof: on a cluster it may sit on a node
//! that was killed and replays, while it catches up, what was removed long ago.

use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::{ALL_CONFIRMS, Channel};
use dockhost_domain::wire::{Confirm, Confirmed};

use super::service::{RequestError, RequestHandler};
use crate::broker::assignments::Assignments;

/// Looks up what stands.
pub struct ConfirmHandler(pub Assignments);

impl RequestHandler for ConfirmHandler {
    const SUBJECT: &'static str = ALL_CONFIRMS;
    type Response = Confirmed;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Confirm(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, backend: BackendId, body: &[u8]) -> Result<Confirmed, RequestError> {
        let asked: Confirm = serde_json::from_slice(body).map_err(RequestError::Malformed)?;
        let current =
            self.0.current(backend, asked.instance_id).await.map_err(|e| RequestError::Unavailable(e.into()))?;
        let stands = current.assignment.is_some_and(|assignment| {
            (assignment.placement, assignment.generation) == (asked.placement, asked.generation)
        });
        if !stands {
            tracing::info!(%backend, instance = %asked.instance_id, placement = asked.placement,
                generation = asked.generation, "an assignment that was handed out stands no more");
        }
        Ok(Confirmed { is_current: stands })
    }
}
