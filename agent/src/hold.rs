//! Whether this agent holds its backend: the server has accepted its hello, and refused none since.
//!
//! Two machines may have the same API key. The server accepts one of their agents; the other one sends nothing but hellos
//! and leaves its containers alone.

use std::sync::Arc;

use tokio::sync::watch;

/// The state; clones share it.
#[derive(Debug, Clone)]
pub struct Hold(Arc<watch::Sender<bool>>);

impl Default for Hold {
    /// Nothing is accepted yet.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Hold {
    /// Whether this agent holds its backend.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.0.borrow()
    }

    /// Changes the state.
    pub fn set(&self, held: bool) {
        self.0.send_if_modified(|state| std::mem::replace(state, held) != held);
    }

    /// Waits until this agent holds its backend.
    pub async fn held(&self) {
        // The sender is `self`, so it can't be gone.
        drop(self.0.subscribe().wait_for(|held| *held).await);
    }
}
