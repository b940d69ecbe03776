//! Answers whether an assignment is current, as the servers do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dockhost_domain::ids::{BackendId, InstanceId};
use dockhost_domain::reported;
use dockhost_domain::subject::{ALL_CONFIRMS, Channel};
use dockhost_domain::wire::{Confirm, Confirmed};

use crate::broker::agent_limits::AgentMessage;
use crate::broker::service::{RequestError, RequestHandler};

/// What is current.
#[derive(Default)]
pub struct Current {
    /// The placement and the generation of each instance that is wanted.
    wanted: Mutex<HashMap<InstanceId, (u32, u32)>>,
    /// Further questions that are refused.
    refusals: Mutex<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Current {
    /// Makes an assignment the current one.
    pub fn set(&self, instance: InstanceId, placement: u32, generation: u32) {
        lock(&self.wanted).insert(instance, (placement, generation));
    }

    /// Refuses the next questions, as servers do whose broker does not answer.
    pub fn refuse_next(&self, count: u32) {
        *lock(&self.refusals) = count;
    }

    fn takes_refusal(&self) -> bool {
        let mut left = lock(&self.refusals);
        let refuses = *left > 0;
        *left = left.saturating_sub(1);
        refuses
    }
}

/// The service.
pub struct Confirming(pub Arc<Current>);

impl RequestHandler for Confirming {
    const MESSAGE: AgentMessage = AgentMessage::Confirm;
    const SUBJECT: &'static str = ALL_CONFIRMS;
    type Response = Confirmed;

    fn sender(channel: Channel) -> Option<BackendId> {
        if let Channel::Confirm(backend) = channel { Some(backend) } else { None }
    }

    async fn handle(&self, _: BackendId, body: &[u8]) -> Result<Confirmed, RequestError> {
        let Confirm { instance_id, placement, generation, .. } = reported::parse(body)?;
        if self.0.takes_refusal() {
            return Err(RequestError::Unavailable("the check refuses this question".into()));
        }
        let is_current = lock(&self.0.wanted).get(&instance_id) == Some(&(placement, generation));
        Ok(Confirmed { is_current })
    }
}

#[cfg(test)]
mod tests {
    use dockhost_domain::ids::AgentRunId;

    use super::*;
    use crate::common::clock;

    #[tokio::test]
    async fn confirm_is_refused_as_often_as_asked_and_then_answered() {
        let (current, instance) = (Arc::new(Current::default()), InstanceId::from_uuid(clock::fresh_uuid()));
        current.set(instance, 1, 2);
        current.refuse_next(1);
        let ask = async |placement, generation| {
            let agent_run = Some(AgentRunId::from_uuid(clock::fresh_uuid()));
            let body =
                serde_json::to_vec(&Confirm { instance_id: instance, placement, generation, agent_run }).unwrap();
            let backend = BackendId::from_uuid(clock::fresh_uuid());
            Confirming(Arc::clone(&current)).handle(backend, &body).await.ok().map(|answer| answer.is_current)
        };
        assert_eq!(ask(1, 2).await, None);
        assert_eq!(ask(1, 2).await, Some(true));
        assert_eq!(ask(1, 1).await, Some(false));
        assert_eq!(ask(2, 2).await, Some(false));
    }
}
