//! The confirm service: whether an assignment is current, which an agent asks before it creates a container.
//!
//! The leader of ASSIGNMENTS decides. The backend's consumer cannot: after a node was killed it may replay assignments
//! that were removed long ago.

use dockhost_domain::ids::BackendId;
use dockhost_domain::subject::{ALL_CONFIRMS, Channel};
use dockhost_domain::wire::{Confirm, Confirmed};

use super::service::{RequestError, RequestHandler};
use crate::broker::assignments::Assignments;

/// Looks up current assignments.
pub struct ConfirmHandler(pub Assignments);

impl RequestHandler for ConfirmHandler {
    const SUBJECT: &'static str = ALL_CONFIRMS;
    type Response = Confirmed;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Confirm(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, backend: BackendId, body: &[u8]) -> Result<Confirmed, RequestError> {
        let question: Confirm = serde_json::from_slice(body).map_err(RequestError::Malformed)?;
        let current = self.0.current(backend, question.instance_id).await;
        let current = current.map_err(|error| RequestError::Unavailable(error.into()))?;
        let is_current = current.assignment.is_some_and(|assignment| {
            (assignment.placement, assignment.generation) == (question.placement, question.generation)
        });
        if !is_current {
            tracing::info!(%backend, instance = %question.instance_id, placement = question.placement,
                generation = question.generation, "assignment is no longer current");
        }
        Ok(Confirmed { is_current })
    }
}
