//! The agent of one machine, on the machine's socket.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dockhost_agent::app::{Agent, run_with};
use dockhost_agent::connect::{ConnectError, ServerAddr};
use dockhost_agent::heartbeat::{AdvertisedAddress, Vitals};
pub use dockhost_agent::key::ApiKey;
use dockhost_agent::key_store::KeyStore;
use dockhost_agent::ports::PortRange;
use dockhost_agent::reconcile::ReconcileConfig;
use dockhost_domain::ids::InstanceId;
use dockhost_domain::reported::BackendAddress;
use serde_json::Value;
use socketioxide::extract::{Event, SocketRef, TryData};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::containers::Containers;
use crate::link::{Link, NoAnswer, Wire};
use crate::protocol::instance_in;
use crate::runtime::SocketIoRuntime;

/// With this event a machine says by itself that something happened to an instance.
const HINT: &str = "instance-created";
/// Hints that wait; further ones are dropped. All containers are compared every 10 s anyway.
const MAX_HINTS: usize = 8;
/// Operations of the agent on one machine at once, those included that wait for another start. The link limits the commands.
const MAX_OPERATIONS: usize = 64;

/// The broker that the agents connect to. `Debug` does not show it: its addresses may have a password.
#[derive(Clone)]
pub struct Broker(Vec<ServerAddr>);

impl Broker {
    /// The broker with these URLs, separated by commas.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn parse(urls: &str) -> Result<Self, std::io::Error> {
        urls.split(',').map(|url| url.trim().parse::<ServerAddr>()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broker(…)")
    }
}

/// A machine whose key may be good.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its key, with which its agent connects to the broker.
    pub key: ApiKey,
    /// Where users reach its ports.
    pub address: BackendAddress,
    /// Its address as this server sees it.
    pub peer: IpAddr,
}

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped.
    Stopped,
    /// The broker refused the key, or no server could check it.
    Refused,
    /// It failed; the log has the reason.
    Failed,
}

/// Runs the agent of a machine until `stop`, which the caller cancels when the socket is gone.
pub async fn serve(socket: &SocketRef, machine: Machine, broker: &Broker, stop: CancellationToken) -> Ended {
    let backend = machine.key.backend();
    let link = Arc::new(Link::new(Outgoing(socket.clone())));
    let (hint, hints) = mpsc::channel(MAX_HINTS);
    listen(socket, &link, hint);
    let range = PortRange::default();
    let containers = Containers::new(range, u128::from(rand::random::<u32>()));
    let runtime = SocketIoRuntime::new(link, containers, machine.peer, hints);
    let agent = Agent {
        servers: broker.0.clone(),
        // A program of DockHostV2 can't be given another one.
        keys: KeyStore::fixed(machine.key),
        exit_on_refused: true,
        max_containers: u32::from(range.blocks()),
        size: None,
        address: AdvertisedAddress::Configured(machine.address),
        vitals: Vitals::Unknown,
        reconcile: ReconcileConfig { max_operations: MAX_OPERATIONS, ..ReconcileConfig::default() },
    };
    match run_with(runtime, agent, stop).await {
        Ok(()) => Ended::Stopped,
        Err(error) if matches!(error.downcast_ref(), Some(ConnectError::Refused)) => Ended::Refused,
        Err(error) => {
            tracing::warn!(%backend, error = format!("{error:#}"), "the agent of a Socket.IO backend failed");
            Ended::Failed
        }
    }
}

/// Passes the machine's events on. The socket keeps its handlers, and the link keeps the socket, so the handler must not
/// keep the link.
fn listen(socket: &SocketRef, link: &Arc<Link>, hint: mpsc::Sender<InstanceId>) {
    let link = Arc::downgrade(link);
    socket.on_fallback(move |Event(name): Event, TryData(value): TryData<Value>| async move {
        let (Ok(value), Some(link)) = (value, link.upgrade()) else { return };
        if name != HINT {
            link.deliver(&name, &value);
        } else if let Some(instance) = value["instanceId"].as_str().and_then(instance_in) {
            // The agent looks itself.
            let _ = hint.try_send(instance);
        }
    });
}

/// The way to the machine.
struct Outgoing(SocketRef);

impl Wire for Outgoing {
    fn emit(&self, event: &'static str, body: &Value) -> Result<(), NoAnswer> {
        self.0.emit(event, body).map_err(|error| NoAnswer::NotSent(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_is_parsed_and_not_shown() {
        let broker = Broker::parse("nats://nats-1:4222, tls://user:hunter2@nats-2:4222").unwrap();
        assert_eq!(broker.0.len(), 2);
        assert!(!format!("{broker:?}").contains("hunter2"));
        assert!(Broker::parse("http://nats-1").is_err());
    }
}
