//! Keeps the isolation rules in place, and tells their state.

use std::sync::{Arc, Mutex, PoisonError};

use dockhost_domain::reported::ShortText;
use dockhost_domain::wire::IsolationState;

use super::engine::Engine;
use super::firewall::{Compared, Firewall};
use super::network;

/// The rules, and what was last logged about them.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    firewall: Arc<Firewall>,
    last: Mutex<Option<IsolationState>>,
}

impl Isolation {
    /// Compares the rules and makes them again if one is missing. Logs each change once.
    pub(super) async fn enforce(&self, engine: &Engine) -> IsolationState {
        let state = match self.ensure(engine).await {
            Ok(Compared::Repaired) => {
                tracing::warn!("another program had removed isolation rules; they are in place again");
                IsolationState::Enforced
            }
            Ok(Compared::Made | Compared::Unchanged) => IsolationState::Enforced,
            Err(reason) => IsolationState::Missing { reason: ShortText::cleaned(&reason) },
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&state) {
            match &state {
                IsolationState::Enforced => {
                    tracing::info!(
                        "instances are blocked from this machine, from each other and from private networks"
                    );
                }
                IsolationState::Missing { reason } => tracing::warn!(
                    %reason,
                    "instances are NOT blocked from this machine, from each other and from private networks; run the \
                     agent as root on the host with iptables installed, or add firewall rules for the bridge yourself"
                ),
            }
            *last = Some(state.clone());
        }
        state
    }

    async fn ensure(&self, engine: &Engine) -> Result<Compared, String> {
        let network = network::ensure(engine).await.map_err(|error| error.for_users())?;
        let firewall = Arc::clone(&self.firewall);
        // Podman's bridge exists only while an instance runs.
        let bridge_must_exist = !engine.is_podman();
        let compared = tokio::task::spawn_blocking(move || firewall.ensure(&network, bridge_must_exist)).await;
        compared.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}
