//! The state of this machine for the heartbeats: the container engine, the image and the isolation rules.
//!
//! The task that observes a part sets it. A part that was never set is left out of the heartbeats, and the server treats it
//! as able.

use std::mem::discriminant;

use dockhost_domain::wire::{EngineState, ImageState, IsolationState, MachineStatus};
use tokio::sync::watch;

/// The shared state; clones share it.
#[derive(Debug, Clone)]
pub struct SharedStatus {
    current: watch::Sender<MachineStatus>,
    /// Changes when the next heartbeat should not wait for its interval.
    urgent: watch::Sender<()>,
}

impl Default for SharedStatus {
    fn default() -> Self {
        Self { current: watch::channel(MachineStatus::default()).0, urgent: watch::channel(()).0 }
    }
}

impl SharedStatus {
    /// The current state.
    #[must_use]
    pub fn current(&self) -> MachineStatus {
        self.current.borrow().clone()
    }

    /// A receiver that changes whenever a part enters another state. Progress within a state does not count: it is sent
    /// with the next regular heartbeat.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.urgent.subscribe()
    }

    /// Sets the state of the container engine.
    pub fn set_engine(&self, state: EngineState) {
        self.set(|status| &mut status.engine, state);
    }

    /// Sets the state of the image.
    pub fn set_image(&self, state: ImageState) {
        self.set(|status| &mut status.image, state);
    }

    /// Sets the state of the isolation rules.
    pub fn set_isolation(&self, state: IsolationState) {
        self.set(|status| &mut status.isolation, state);
    }

    fn set<T>(&self, part: impl FnOnce(&mut MachineStatus) -> &mut Option<T>, state: T) {
        let mut entered = false;
        self.current.send_modify(|status| {
            let part = part(status);
            entered = part.as_ref().is_none_or(|before| discriminant(before) != discriminant(&state));
            *part = Some(state);
        });
        if entered {
            self.urgent.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_status_changes_when_a_part_enters_another_state() {
        let status = SharedStatus::default();
        let mut changes = status.changes();
        let mut changed = || {
            let changed = changes.has_changed().unwrap();
            changes.mark_unchanged();
            changed
        };
        assert!(!changed());
        status.set_engine(EngineState::Ready);
        assert!(changed());
        status.set_engine(EngineState::Ready);
        assert!(!changed());
        status.set_image(ImageState::Fetching { percent: Some(1), bytes: 10 });
        assert!(changed());
        status.clone().set_image(ImageState::Fetching { percent: Some(2), bytes: 20 });
        assert!(!changed(), "progress alone does not count");
        status.set_image(ImageState::Ready);
        status.set_isolation(IsolationState::Enforced);
        assert!(changed());
        let expected = MachineStatus {
            engine: Some(EngineState::Ready),
            image: Some(ImageState::Ready),
            isolation: Some(IsolationState::Enforced),
        };
        assert_eq!(status.current(), expected);
    }
}
